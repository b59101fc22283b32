import { once } from 'node:events';
import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import express from 'express';
import {
  type ClientRefusedEvent,
  GatewayEvents,
  type HardenServerOptions,
  hardenServer,
  ipRateLimit,
  serviceRouter,
} from 'expressway';
import { Cleanup } from '../support/gateway.ts';
import { RawClient } from '../support/raw-client.ts';
import { answer, RecorderBackend } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const CHUNKED = 'Transfer-Encoding: chunked';
const MUCH = 300_000;

/** A client that has the response to its upload, and goes on to send the body. The app reads no body. */
async function answered(framing: string, bounds: HardenServerOptions = {}) {
  const told: ClientRefusedEvent[] = [];
  const events = new GatewayEvents();
  events.on('clientRefused', (event) => told.push(event));
  const options = { checkIntervalMs: 20, headTimeoutMs: 20_000, ...bounds, events };
  const server = hardenServer(
    createServer((req, res) => void res.end(req.url)),
    options,
  );
  const { port } = cleanup.add(await listen(() => {}, server));
  const client = cleanup.add(await RawClient.connect(port));
  client.send(`POST /upload HTTP/1.1\r\nHost: gw.example\r\n${framing}\r\n\r\n`);
  expect((await client.response()).content.toString()).toBe('/upload');
  return { client, told };
}

describe('a client that sends the body of a request that has its response', () => {
  const IN_PROGRESS = [1, 2, 0];

  test.each([
    [`Content-Length: ${MUCH}`, 'x'.repeat(MUCH)],
    [CHUNKED, `${MUCH.toString(16)}\r\n${'x'.repeat(MUCH)}\r\n0\r\n\r\n`],
    [CHUNKED, `${'1\r\nx\r\n'.repeat(20_000)}0\r\n\r\n`],
  ])('%s: gets nothing more for it, and the next response for its next request', async (framing, body) => {
    for (const maxRequestsInProgress of IN_PROGRESS) {
      const { client, told } = await answered(framing, { maxRequestsInProgress });
      client.send(`${body}GET /next HTTP/1.1\r\nHost: gw.example\r\n\r\n`);
      expect((await client.response()).content.toString()).toBe('/next');
      expect(told).toEqual([]);
    }
  });

  test.each([
    ['chunks that are none', CHUNKED, 'zz\r\n', 'bad_request'],
    ['an endless chunk extension', CHUNKED, `1;${'a'.repeat(20_000)}\r\nx\r\n`, 'content_too_large'],
  ])('%s: ends the connection without another response', async (_what, framing, body, cause) => {
    for (const maxRequestsInProgress of IN_PROGRESS) {
      const { client, told } = await answered(framing, { maxRequestsInProgress });
      client.send(body);
      await client.closed();
      expect(client.pending.toString('latin1')).toBe('');
      expect(told.map((event) => event.cause)).toEqual([cause]);
    }
  });

  test.each<[string, HardenServerOptions]>([
    ['minReceiveBytesPerSecond', { minReceiveBytesPerSecond: 10_000, receiveGraceMs: 200 }],
    ['requestTimeoutMs', { minReceiveBytesPerSecond: 0, requestTimeoutMs: 1_500, headTimeoutMs: 1_500 }],
  ])('slowly: %s ends the connection without another response', async (_what, bounds) => {
    for (const framing of [`Content-Length: ${MUCH}`, CHUNKED]) {
      const { client, told } = await answered(framing, bounds);
      const drip = setInterval(() => client.send(framing === CHUNKED ? '1\r\nx\r\n' : 'x'), 20);
      await eventually('it is refused', () => told.length > 0).finally(() => clearInterval(drip));
      await client.closed();
      expect(client.pending.toString('latin1')).toBe('');
      expect(told.map((event) => event.cause)).toEqual(['client_timeout']);
    }
  });
});

/** nginx asks for both, by default. */
const NOT_KEPT = ['HTTP/1.0\r\nConnection: close', 'HTTP/1.1\r\nConnection: close', 'HTTP/1.0'];
const EARLY = [
  ['/denied', 403],
  ['/none', 404],
  ['/moved', 302],
  ['/fixed', 200],
  ['/early', 413],
] as const;

test.each(NOT_KEPT.flatMap((version) => EARLY.map(([path, status]) => [version, path, status] as const)))(
  '%j: no reset overtakes the response to %s, though the client still sends a short body',
  async (version, path, status) => {
    const early = answer('HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno');
    const backend = cleanup.add(await RecorderBackend.start(early));
    const limiter = cleanup.add(ipRateLimit({ deny: ['127.0.0.1'] }));
    const router = serviceRouter({
      services: { all: { backends: [backend.url] } },
      routes: [
        { path: '/early', service: 'all' },
        { path: '/moved', redirect: { fullPath: '/' } },
        { path: '/fixed', respond: { body: 'no' } },
      ],
    });
    cleanup.add(router);
    const app = express().use('/denied', limiter).use(router);
    const server = hardenServer(createServer(app));
    const { port } = cleanup.add(await listen(app, server));
    const accepted = once(server, 'connection');
    const client = cleanup.add(await RawClient.connect(port));
    const [socket] = (await accepted) as [Socket];
    const closed = once(socket, 'close');
    client.send(`POST ${path} ${version}\r\nHost: a\r\nContent-Length: 100000\r\n\r\nx`);
    const response = await client.response();
    expect([response.status, response.field('connection')]).toEqual([status, 'close']);
    client.socket.end('x'.repeat(99_999));
    await closed;
    expect(socket.bytesRead).toBeGreaterThan(100_000);
  },
);
