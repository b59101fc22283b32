import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { buildConnector } from 'undici';
import { BackendConnections } from '../../../lib/proxy/backend-connections.ts';
import { eventually } from '../../support/servers.ts';

const sockets = new Set<Socket>();
let waiting: [IncomingMessage, ServerResponse][] = [];
const server = createServer((req, res) => waiting.push([req, res]));
server.on('connection', (socket) => {
  sockets.add(socket);
  socket.on('close', () => sockets.delete(socket));
});
let connections: BackendConnections;

beforeEach(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  connections = new BackendConnections({ origin, connect: buildConnector({ timeout: 1_000 }) });
});
afterEach(async () => {
  await connections.destroy(new Error('the test is over'));
  server.closeAllConnections();
  server.close();
  waiting = [];
});

/** How the request ends: its status, or its error's name. */
function ask(path = '/', headers: Record<string, string> = {}): Promise<number | string> {
  return new Promise((resolve) => {
    let status = 0;
    connections.dispatch(
      { path, method: 'GET', headers },
      {
        onRequestStart: () => {},
        onResponseStart: (_controller, code) => {
          status = code;
        },
        onResponseEnd: () => resolve(status),
        onResponseData: () => {},
        onResponseError: (_controller, error) => resolve(error.name),
      },
    );
  });
}

const arrived = (count: number) => eventually(`${count} requests`, () => waiting.length === count);
const answerAll = () => {
  for (const [, res] of waiting.splice(0)) res.end('ok');
};

describe('the connections to one backend', () => {
  test('carry one request at a time, and are used again', async () => {
    const first = [ask('/a'), ask('/b'), ask('/c')];
    await arrived(3);
    expect(new Set(waiting.map(([req]) => req.socket)).size).toBe(3);
    answerAll();
    expect(await Promise.all(first)).toEqual([200, 200, 200]);
    // A connection is free one turn of the event loop after its answer.
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
    const second = [ask(), ask(), ask()];
    await arrived(3);
    expect(sockets.size).toBe(3);
    answerAll();
    expect(await Promise.all(second)).toEqual([200, 200, 200]);
  });

  test('outlive a request that is refused before it is sent', async () => {
    for (let i = 0; i < 3; i += 1) expect(await ask('/', { bad: 'a\nb' })).toBe('InvalidArgumentError');
    const good = [ask(), ask()];
    await arrived(2);
    answerAll();
    expect(await Promise.all(good)).toEqual([200, 200]);
    expect(sockets.size).toBe(2);
  });

  test('that the backend closed are replaced, and those under way fail alone', async () => {
    const cut = ask();
    await arrived(1);
    const kept = ask();
    await arrived(2);
    (waiting.shift() as [IncomingMessage, ServerResponse])[0].socket.destroy();
    expect(await cut).toBe('SocketError');
    const next = ask();
    await arrived(2);
    answerAll();
    expect(await Promise.all([kept, next])).toEqual([200, 200]);
  });

  test('close when their requests have ended', async () => {
    const last = ask();
    await arrived(1);
    let closed = false;
    const closing = connections.close().then(() => {
      closed = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(closed).toBe(false);
    answerAll();
    expect(await last).toBe(200);
    await closing;
    expect(await ask()).toMatch(/Client(Closed|Destroyed)Error/);
  });
});
