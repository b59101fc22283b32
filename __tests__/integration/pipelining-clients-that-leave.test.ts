import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import { type ClientRefusedEvent, GatewayEvents, hardenServer } from 'expressway';
import { certificate } from '../support/certificate.ts';
import { Cleanup } from '../support/gateway.ts';
import { mockTimeoutsOnly } from '../support/mock-time.ts';
import { RawClient } from '../support/raw-client.ts';
import { eventually, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(async () => {
  jest.useRealTimers();
  await cleanup.run();
});

const get = (target: string) => `GET ${target} HTTP/1.1\r\nHost: gw.example\r\n\r\n`;
/** More than is read behind a request in progress. */
const FLOOD = get('/').repeat(10_000);

/** All requests wait for a response, like a long poll or an event stream without events. */
async function site(secure = false) {
  const waiting = new Set<ServerResponse>();
  const app: RequestListener = (_req, res) => {
    waiting.add(res);
    res.on('close', () => waiting.delete(res));
  };
  const told: ClientRefusedEvent[] = [];
  const events = new GatewayEvents();
  events.on('clientRefused', (event) => told.push(event));
  const made = secure ? (createTlsServer(certificate, app) as unknown as Server) : createServer(app);
  const { port, server } = cleanup.add(await listen(() => {}, hardenServer(made, { events })));
  const sockets: Socket[] = [];
  server.on(secure ? 'secureConnection' : 'connection', (socket) => sockets.push(socket));
  return { port, waiting, told, sockets };
}

describe.each([
  ['http', false],
  ['https', true],
])('a client that sent bytes behind a request in progress, over %s', (_scheme, secure) => {
  const leave: Record<string, (socket: Socket) => unknown> = {
    'ends its side': (socket) => socket.end(),
    'closes the connection': (socket) => socket.destroy(),
    'resets the connection': (socket) => socket.resetAndDestroy(),
  };
  const behind = { 'an empty line': '\r\n', 'a part of a request': 'GET', requests: get('/2').repeat(3) };

  test.each(Object.entries(leave))('%s: the request ends', async (_how, act) => {
    for (const [what, bytes] of Object.entries(behind)) {
      const { port, waiting, sockets } = await site(secure);
      const plain = connect({ port, host: '127.0.0.1' });
      const socket = secure ? connectTls({ socket: plain, rejectUnauthorized: false }) : plain;
      cleanup.add({ close: () => plain.destroy() });
      for (const one of [plain, socket]) one.on('error', () => {});
      socket.write(get('/1'));
      await eventually(`it waits (${what})`, () => waiting.size === 1);
      const before = sockets[0]?.bytesRead ?? 0;
      socket.write(bytes);
      await eventually(`the bytes are here (${what})`, () => (sockets[0]?.bytesRead ?? 0) > before);
      act(plain);
      await eventually(`the request ends (${what})`, () => waiting.size === 0);
      await eventually(`the connection ends (${what})`, () => sockets[0]?.destroyed === true);
      expect(sockets).toHaveLength(1);
    }
  });
});

describe('a client that sends more than is read behind a request in progress', () => {
  async function flooded() {
    const { port, waiting, told, sockets } = await site();
    mockTimeoutsOnly();
    const client = cleanup.add(await RawClient.connect(port));
    client.send(get('/1'));
    await eventually('it waits', () => waiting.size === 1);
    client.send(FLOOD);
    await eventually('the server reads no more', () => sockets[0]?.isPaused() === true);
    expect(sockets[0]?.bytesRead).toBeLessThan(FLOOD.length);
    expect([told, waiting.size]).toEqual([[], 1]);
    jest.advanceTimersByTime(10_000);
    expect(told).toMatchObject([
      { cause: 'client_overload', detail: 'More than 16384 bytes came behind a request in progress.' },
    ]);
    return { client, waiting, sockets };
  }

  test('gets that response, and no other one, when it waits for more than ten seconds', async () => {
    const { client, waiting } = await flooded();
    await eventually('the client can send the rest', () => client.socket.writableLength === 0);
    for (const res of waiting) res.end('late');
    expect((await client.response()).content.toString()).toBe('late');
    client.socket.end();
    await client.closed();
    expect([client.pending.length, waiting.size]).toEqual([0, 0]);
  });

  test('and leaves: its request ends then', async () => {
    const { client, waiting } = await flooded();
    client.socket.destroy();
    await eventually('the request ends', () => waiting.size === 0);
  });
});
