import { randomBytes } from 'node:crypto';
import { Socket } from 'node:net';
import { afterEach, expect, jest, test } from '@jest/globals';
import type { Dispatcher } from 'undici';
import { AllConnections } from '../../../lib/proxy/transport/all-connections.ts';
import { Cleanup } from '../../support/gateway.ts';
import { RecorderBackend } from '../../support/recorder-backend.ts';
import { eventually } from '../../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

class Response {
  controller: Dispatcher.DispatchController | undefined;
  header: unknown;
  readonly chunks: Buffer[] = [];
  isOver = false;

  get body(): string {
    return Buffer.concat(this.chunks).toString('latin1');
  }
}

/** The connections to a backend that sends only what a test writes. */
async function start() {
  const accepted: Socket[] = [];
  const backend = cleanup.add(await RecorderBackend.start((socket) => void accepted.push(socket)));
  const connections = cleanup.add(new AllConnections({ connectTimeoutMs: 1_000 }));

  /** Sends a request on a connection of its own. Gives what comes of it, and the backend's end of the connection. */
  return async function request(onHead = (_: Dispatcher.DispatchController) => {}) {
    const response = new Response();
    const before = accepted.length;
    connections.to({ identity: backend.url, origin: backend.url }).dispatch(
      { path: '/', method: 'GET', headers: ['host', 'a'] },
      {
        onRequestStart: (controller) => {
          response.controller = controller;
        },
        onResponseStart: (controller, _status, fields) => {
          response.header = fields['x-header'];
          onHead(controller);
        },
        onResponseData: (_controller, chunk) => void response.chunks.push(chunk),
        onResponseEnd: () => {
          response.isOver = true;
        },
        onResponseError: () => {},
      },
    );
    await eventually('the request is there', () => accepted.length > before);
    return { response, socket: accepted.at(-1) as Socket };
  };
}

const spyOnStreams = () => {
  const push = jest.spyOn(Socket.prototype, 'push');
  cleanup.add({ close: () => push.mockRestore() });
  // The backend's ends of the connections are sockets, too.
  return () => push.mock.calls.map(([chunk]) => String(chunk)).filter((text) => !text.startsWith('GET'));
};

test('a response in pieces is whole, though other connections are read in between, and passes no stream', async () => {
  const request = await start();
  const [one, other] = [await request(), await request()];
  const pushed = spyOnStreams();
  other.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 330\r\n\r\n');
  const pieces = ['HTTP/1.1 200 OK\r\nX-Header: be', 'ginning and end\r\nContent-Length: 6\r\n\r\nabc', 'def'];
  for (const [index, piece] of pieces.entries()) {
    one.socket.write(piece);
    await eventually('the piece is read', () => one.response.body === ['', 'abc', 'abcdef'][index]);
    other.socket.write('other bytes'.repeat(10));
    await eventually('the other connection is read', () => other.response.body.length === 110 * (index + 1));
  }
  expect(one.response).toMatchObject({ header: 'beginning and end', body: 'abcdef', isOver: true });
  expect(pushed()).toEqual([]);
});

test('bulk data stays as it is while more is read, on its own connection and on others', async () => {
  const request = await start();
  const all = [await request(), await request()];
  const sent = all.map(() => randomBytes(2_000_000));
  for (const [index, { socket }] of all.entries()) {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n');
    socket.write(sent[index] as Buffer);
  }
  await eventually('both are over', () => all.every(({ response }) => response.isOver));
  for (const [index, { response }] of all.entries()) {
    expect(Buffer.concat(response.chunks).equals(sent[index] as Buffer)).toBe(true);
  }
});

test('what comes while the client takes nothing waits, and comes in order', async () => {
  const request = await start();
  const { response, socket } = await request((controller) => controller.pause());
  socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\nX-Header: 1\r\n\r\nabc');
  await eventually('the head is here', () => response.header === '1');
  const pushed = spyOnStreams();
  socket.write('def');
  await eventually('the second piece waits', () => pushed().length === 1);
  expect(response.body).toBe('');
  response.controller?.resume();
  await eventually('the pieces are here', () => response.body === 'abcdef');
  socket.write('ghi');
  await eventually('the last piece is here', () => response.body === 'abcdefghi' && response.isOver);
});
