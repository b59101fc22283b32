import { createServer } from 'node:https';
import { connect } from 'node:tls';
import { afterEach, expect, test } from '@jest/globals';
import express from 'express';
import { GatewayEvents, hardenServer, http2Server, requestGuard } from 'expressway';
import { certificate } from '../support/certificate.ts';
import { Cleanup } from '../support/gateway.ts';
import { RawClient } from '../support/raw-client.ts';
import { listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** All that comes back, once the connection has ended in order. */
async function exchange(port: number, bytes: string): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false }, () => socket.write(bytes));
  cleanup.add({ close: () => socket.destroy() });
  let text = '';
  for await (const chunk of socket) text += chunk;
  return text;
}

test.each([
  ['G02 slow content', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc', 408],
  ['G01 a slow head', 'GET / HTTP/1.1\r\nHost: a\r\n', 408],
  ['S09 a space before the colon', 'GET / HTTP/1.1\r\nHost : a\r\n\r\n', 400],
  ['S13 Host twice', 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', 400],
  ['S22 101 fields', `GET / HTTP/1.1\r\nHost: a\r\n${'X: 1\r\n'.repeat(100)}\r\n`, 431],
  ['G04 a long target', `GET /${'a'.repeat(9_000)} HTTP/1.1\r\nHost: a\r\n\r\n`, 414],
])('%s under TLS', async (_name, bytes, status) => {
  const app = express();
  app.use(requestGuard(), (req, res) => req.resume().on('end', () => res.end('ok')));
  // What is complete must not miss them on a busy machine.
  const short = status === 408 ? { headTimeoutMs: 300, receiveGraceMs: 200 } : {};
  const bounds = { checkIntervalMs: 20, minReceiveBytesPerSecond: 1_000, ...short };
  const server = hardenServer(createServer(certificate, app), bounds);
  const { port } = cleanup.add(await listen(() => {}, server as never));
  const text = await exchange(port, bytes);
  expect(text).toMatch(
    new RegExp(`^HTTP/1.1 ${status} [\\s\\S]*application/problem\\+json[\\s\\S]*\\r\\nConnection: close\\r\\n`),
  );
});

test.each([
  ['GET', false],
  ['HEAD', true],
  ['CONNECT', true],
])('%s without TLS gets 400 from a server that speaks TLS; with HTTP/2: %s', async (method, isHttp2) => {
  const events = new GatewayEvents();
  const refused: unknown[] = [];
  events.on('clientRefused', ({ cause, status, address }) => refused.push([cause, status, address]));
  const server = createServer(certificate, () => {});
  hardenServer(isHttp2 ? http2Server(server) : server, { events });
  const { port } = cleanup.add(await listen(() => {}, server as never));
  const client = cleanup.add(await RawClient.connect(port));
  client.send(`${method} / HTTP/1.1\r\nHost: a\r\n\r\n`);
  await client.closed();
  expect(client.pending.toString()).toMatch(/^HTTP\/1.1 400 [\s\S]*Connection: close\r\n[\s\S]*https:/);
  expect(refused).toEqual([['bad_request', 400, '127.0.0.1']]);
});
