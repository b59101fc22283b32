import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { buildConnector } from 'undici';
import { BackendConnections } from '../../../lib/proxy/transport/backend-connections.ts';
import { mockDateOnly } from '../../support/mock-time.ts';
import { eventually } from '../../support/servers.ts';

mockDateOnly(1_800_000_000_000);

const sockets = new Set<Socket>();
const client = new Socket();
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
      client,
    );
  });
}

const arrived = (count: number) => eventually(`${count} requests`, () => waiting.length === count);
const answerAll = () => {
  for (const [, res] of waiting.splice(0)) res.end('ok');
};

describe('the connections to a backend', () => {
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

  test.each([
    ['closed', () => connections.close()],
    ['destroyed', () => connections.destroy(new Error('removed'))],
  ])('take no request once they are %s', async (_name, end) => {
    await end();
    expect(await ask()).toBe('ClientClosedError');
    expect(waiting).toEqual([]);
  });

  test('that could not be opened count as in use no more', async () => {
    server.close();
    await once(server, 'close');
    for (let i = 0; i < 3; i += 1) expect(await ask()).toBe('Error');
    await eventually('no connection in use', () => {
      jest.setSystemTime(Date.now() + 60_000);
      return connections.isIdle;
    });
  });

  test('survive a request that is refused before it is sent', async () => {
    for (let i = 0; i < 3; i += 1) expect(await ask('/', { bad: 'a\nb' })).toBe('InvalidArgumentError');
    const good = [ask(), ask()];
    await arrived(2);
    answerAll();
    expect(await Promise.all(good)).toEqual([200, 200]);
    expect(sockets.size).toBe(2);
  });

  test('are replaced when the backend closes them; only running requests fail', async () => {
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

  test('are not idle while a request is in progress, however long it takes', async () => {
    const held = ask();
    await arrived(1);
    jest.setSystemTime(Date.now() + 60_000);
    expect(connections.isIdle).toBe(false);
    answerAll();
    expect([await held, connections.isIdle]).toEqual([200, false]);
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

describe('a connection that is used occasionally', () => {
  /** A connection is free one turn of the event loop after its answer. */
  const free = () => new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve)));

  async function together(count: number): Promise<void> {
    const asked = Array.from({ length: count }, () => ask());
    await arrived(count);
    answerAll();
    expect(await Promise.all(asked)).toEqual(asked.map(() => 200));
    await free();
  }

  /** The connections, by the order in which they were opened, of requests with so much time before each of them. */
  async function oneByOne(requests: number, idleMs: number): Promise<number[]> {
    const found: number[] = [];
    for (let request = 0; request < requests; request += 1) {
      jest.setSystemTime(Date.now() + idleMs);
      const asked = ask();
      await arrived(1);
      found.push([...sockets].indexOf((waiting[0] as [IncomingMessage, ServerResponse])[0].socket));
      answerAll();
      expect(await asked).toBe(200);
      await free();
    }
    return found;
  }

  test('is used before it times out', async () => {
    await together(3);
    const used = await oneByOne(12, 500);
    // Each of the three is free for no longer than a second and the two requests that the others are longer free for.
    for (let at = 0; at + 4 <= used.length; at += 1) expect(new Set(used.slice(at, at + 4)).size).toBe(3);
  });

  test('stays idle while fresher ones are free and it is not about to time out', async () => {
    await together(3);
    expect(new Set(await oneByOne(20, 40)).size).toBe(1);
  });

  test('is closed when fewer were needed for a minute', async () => {
    await together(3);
    await oneByOne(1, 0);
    await oneByOne(21, 3_000);
    expect(new Set(await oneByOne(10, 3_000)).size).toBe(1);
  });

  test('is kept when it is needed again', async () => {
    await together(2);
    for (let time = 0; time < 5; time += 1) {
      await oneByOne(7, 3_000);
      await together(2);
    }
    expect(new Set(await oneByOne(4, 3_000)).size).toBe(2);
    expect(sockets.size).toBe(2);
  });

  test('does not count after the backend closed it', async () => {
    const asked = [ask(), ask()];
    await arrived(2);
    for (const [index, [, res]] of waiting.splice(0).entries()) {
      if (index === 0) res.setHeader('connection', 'close');
      res.end('ok');
    }
    expect(await Promise.all(asked)).toEqual([200, 200]);
    await eventually('it is closed', () => sockets.size === 1);
    await free();
    expect(await oneByOne(4, 3_000)).toEqual([0, 0, 0, 0]);
  });
});

describe('the keep-alive time of the backend', () => {
  const settled = () => new Promise<void>((resolve) => setImmediate(() => setImmediate(() => setImmediate(resolve))));

  /** Answers one request, so much time after the last one; tells whether it came over a connection that was there. */
  async function isReused(idleMs: number): Promise<boolean> {
    jest.setSystemTime(Date.now() + idleMs);
    const before = new Set(sockets);
    const asked = ask();
    await arrived(1);
    const { socket } = (waiting[0] as [IncomingMessage, ServerResponse])[0];
    answerAll();
    expect(await asked).toBe(200);
    await settled();
    return before.has(socket);
  }

  async function closeAll(idleMs: number): Promise<void> {
    jest.setSystemTime(Date.now() + idleMs);
    server.closeAllConnections();
    await eventually('all are closed', () => sockets.size === 0 && connections.isIdle);
  }

  test('is learned from the connections that it closes, and no connection is used in its second half', async () => {
    expect([await isReused(0), await isReused(3_000)]).toEqual([false, true]);
    await closeAll(100);
    expect([await isReused(0), await isReused(49), await isReused(50), await isReused(0)]).toEqual([
      false,
      true,
      false,
      true,
    ]);
  });

  test('leaves no more connections than one beside those that are needed', async () => {
    await isReused(0);
    await closeAll(8);
    // The oldest is not idle for so long that it says anything new.
    for (let i = 0; i < 8; i += 1) {
      expect(await isReused(5)).toBe(false);
      await eventually('those that are not needed are closed', () => sockets.size <= 2);
    }
  });

  test('says nothing of a connection that ends with a request on it', async () => {
    await isReused(0);
    const lost = ask();
    await arrived(1);
    (waiting.shift() as [IncomingMessage, ServerResponse])[0].socket.destroy();
    expect(await lost).toBe('SocketError');
    expect([await isReused(0), await isReused(3_000)]).toEqual([false, true]);
  });

  test('does not come from closes by undici, or from connections without a response', async () => {
    // Closed behind its response, and before the first one.
    for (const leave of [
      (res: ServerResponse) => void res.setHeader('connection', 'close').end(),
      (res: ServerResponse) => void res.socket?.destroy(),
    ]) {
      const asked = ask();
      await arrived(1);
      leave((waiting.shift() as [IncomingMessage, ServerResponse])[1]);
      await asked;
      await settled();
    }
    expect([await isReused(0), await isReused(3_000)]).toEqual([false, true]);
  });

  test('is forgotten when connections outlive it: a backend that restarts closes them all, however young', async () => {
    await isReused(0);
    await closeAll(1);
    expect([await isReused(0), await isReused(5)]).toEqual([false, false]);
    const reused: boolean[] = [];
    // Each look at one that is still open doubles the time.
    for (let i = 0; i < 8; i += 1) reused.push(await isReused(30));
    expect([reused[0], reused.at(-1)]).toEqual([false, true]);
  });
});
