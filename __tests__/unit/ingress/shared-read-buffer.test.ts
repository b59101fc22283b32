import { createServer } from 'node:http';
import type { Socket } from 'node:net';
import { afterEach, expect, test } from '@jest/globals';
import { SharedReadBuffer } from '../../../lib/ingress/shared-read-buffer.ts';
import { Cleanup } from '../../support/gateway.ts';
import { RawClient } from '../../support/raw-client.ts';
import { eventually, listen } from '../../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

test('Node reads all connections into the one buffer, and nothing comes as data', async () => {
  const chunks: Buffer[] = [];
  const texts: string[] = [];
  const shared = new SharedReadBuffer((chunk) => {
    chunks.push(chunk);
    texts.push(chunk.toString());
    return true;
  });
  const server = createServer();
  server.on('connection', (socket: Socket) => {
    socket.removeAllListeners('data');
    socket.on('data', () => texts.push('data'));
    shared.use(socket);
  });
  const { port } = cleanup.add(await listen(() => {}, server));
  for (const text of ['one', 'two', 'three']) {
    const client = cleanup.add(await RawClient.connect(port));
    client.send(text);
    await eventually('it is read', () => texts.includes(text));
  }
  expect(texts).toEqual(['one', 'two', 'three']);
  expect(new Set(chunks.map(({ buffer }) => buffer)).size).toBe(1);
  expect(chunks.every((chunk) => shared.has(chunk))).toBe(true);
  expect(shared.has(Buffer.from('one'))).toBe(false);
});
