import type { ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import { duplexPair } from 'node:stream';
import { afterEach, expect, test } from '@jest/globals';
import type { Dispatcher } from 'undici';
import type { ResponseHandler } from '../../../lib/proxy/transport/connections.ts';
import { UnprocessedError } from '../../../lib/proxy/transport/failure.ts';
import { Http2Connections } from '../../../lib/proxy/transport/http2-connections.ts';
import { buildConnector, type Connector } from '../../../lib/proxy/transport/undici.ts';
import { Cleanup } from '../../support/gateway.ts';
import { Http2Backend } from '../../support/http2-backend.ts';
import { DATA, frame, GOAWAY, headers, SETTINGS, uint32 } from '../../support/http2-frames.ts';
import { stays } from '../../support/pause.ts';
import { eventually } from '../../support/servers.ts';
import { hold } from '../../support/stall.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** Before Node 24, a session does not notice that a backend breaks the protocol. */
const NOTICES_ERRORS = Number.parseInt(process.versions.node, 10) >= 24;
if (!NOTICES_ERRORS) process.stderr.write('SKIPPED: connections that end with an error of the protocol need Node 24\n');

const connectionsTo = (origin: string, connect: Connector = buildConnector({}), connectTimeoutMs = 30_000) =>
  new Http2Connections({ origin, connect, connectTimeoutMs, serverName: undefined, keepAlive: true });

function ask(connections: Http2Connections, handler: Partial<ResponseHandler>): void {
  const nothing = { onRequestStart() {}, onResponseStart() {}, onResponseData() {}, onResponseEnd() {} };
  connections.dispatch(
    { path: '/', method: 'POST', headers: ['host', 'a'], body: null },
    { onResponseError() {}, ...nothing, ...handler },
  );
}

test('a request that is not sent yet when the backend ends the connection can be sent again', async () => {
  const [near, far] = duplexPair();
  let received = 0;
  far.on('data', (chunk: Buffer) => {
    received += chunk.length;
  });
  cleanup.add({ close: () => near.destroy() });
  const socket = Object.assign(near, { bytesRead: 0 }) as unknown as Socket;
  const connections = connectionsTo('http://a', (_target, callback) => callback(null, socket));
  far.write(frame(SETTINGS, 0, 0));
  ask(connections, {});
  await eventually('it is sent', () => received > 80);
  const error = new Promise((resolve) => {
    ask(connections, { onResponseError: (_controller, reason) => resolve(reason) });
  });
  // It allows all streams that there are, as in an orderly end.
  far.write(frame(GOAWAY, 0, 0, Buffer.concat([uint32(2 ** 31 - 1), uint32(0)])));
  expect(await error).toEqual(new UnprocessedError(true));
});

/** Connections over one socket, whose other end the test has. */
function overOneSocket(connectTimeoutMs?: number) {
  const [near, far] = duplexPair();
  cleanup.add({ close: () => near.destroy() });
  const rig = { received: 0 };
  far.on('data', (chunk: Buffer) => {
    rig.received += chunk.length;
  });
  const socket = Object.assign(near, { bytesRead: 0 }) as unknown as Socket;
  const connections = connectionsTo('http://a', (_target, callback) => callback(null, socket), connectTimeoutMs);
  return Object.assign(rig, { connections, near, far });
}

/** How a request ends: with its status, or an error. */
const endOf = (connections: Http2Connections, handler: Partial<ResponseHandler> = {}) =>
  new Promise<number | NodeJS.ErrnoException>((resolve) => {
    let status = 0;
    ask(connections, {
      onResponseStart: (_controller: unknown, code: number) => {
        status = code;
      },
      onResponseEnd: () => resolve(status),
      onResponseError: (_controller, reason) => resolve(reason),
      ...handler,
    });
  });

const OK = [[':status', '200']] as const;

test('a response that repeats a field of one value is no error', async () => {
  const rig = overOneSocket();
  const status = endOf(rig.connections);
  rig.far.write(frame(SETTINGS, 0, 0));
  await eventually('the request is sent', () => rig.received > 80);
  rig.far.write(headers(1, [...OK, ['content-type', 'text/a'], ['content-type', 'text/b']]));
  expect(await status).toBe(200);
});

/** Connections to a backend that holds its streams, and whether the socket keeps the process alive. */
async function heldStreams() {
  const held: ServerHttp2Stream[] = [];
  const { url } = cleanup.add(await Http2Backend.start((stream) => held.push(stream)));
  const rig = { held, keepsProcess: true };
  const connect = buildConnector({});
  const connections = connectionsTo(url, (target, callback) =>
    connect(target, (error, socket) => {
      for (const name of ['ref', 'unref'] as const) {
        const change = socket?.[name].bind(socket);
        if (socket !== null) {
          socket[name] = () => {
            rig.keepsProcess = name === 'ref';
            return change?.() ?? socket;
          };
        }
      }
      callback(error as null, socket as Socket);
    }),
  );
  return Object.assign(rig, { connections });
}

test('a connection keeps the process alive while it has requests', async () => {
  const rig = await heldStreams();
  const responses = [endOf(rig.connections), endOf(rig.connections)];
  await eventually('both are at the backend', () => rig.held.length === 2);
  expect(rig.keepsProcess).toBe(true);
  rig.held[0]?.respond({ ':status': 200 }, { endStream: true });
  await Promise.race(responses);
  await stays('it does, for the other one', () => rig.keepsProcess, 20);
  rig.held[1]?.respond({ ':status': 200 }, { endStream: true });
  await Promise.all(responses);
  await eventually('it does not', () => !rig.keepsProcess);
  await rig.connections.close();
});

test('a connection whose first request was aborted meanwhile does not keep the process alive', async () => {
  const rig = await heldStreams();
  const aborted = endOf(rig.connections, { onRequestStart: (controller) => controller.abort(new Error('not wanted')) });
  expect(await aborted).toEqual(new Error('not wanted'));
  expect(rig.keepsProcess).toBe(false);
  await rig.connections.close();
});

test('a connection that is closed before the settings come ends with them if its request was aborted', async () => {
  const { connections, near, far } = overOneSocket();
  const aborted = endOf(connections, { onRequestStart: (controller) => controller.abort(new Error('not wanted')) });
  const closed = connections.close();
  far.write(frame(SETTINGS, 0, 0));
  await Promise.all([aborted, closed]);
  await eventually('the socket is closed', () => near.destroyed);
});

test('settings that a busy process reads late are in time', async () => {
  const rig = overOneSocket(20);
  const status = endOf(rig.connections);
  // Both are due when the process goes on, in this order.
  setTimeout(() => rig.far.write(frame(SETTINGS, 0, 0)), 20);
  hold(40);
  await eventually('the request is sent', () => rig.received > 80);
  rig.far.write(headers(1, OK));
  expect(await status).toBe(200);
});

test('a request whose connection is lost before the settings come has the error of the socket', async () => {
  const { connections, near } = overOneSocket();
  const lost = endOf(connections);
  const error = Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' });
  near.destroy(error);
  expect(await lost).toBe(error);
});

(NOTICES_ERRORS ? test : test.skip)(
  'a request to a backend that speaks HTTP/1.1 has the error of the session',
  async () => {
    const { connections, far } = overOneSocket();
    const failed = endOf(connections);
    far.write('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n');
    expect(await failed).toMatchObject({ code: 'ERR_HTTP2_ERROR' });
  },
);

test('a connection on which the backend responds stays when a request there is aborted', async () => {
  const backend = cleanup.add(
    await Http2Backend.start((stream) => {
      stream.respond({ ':status': 200 });
      if (backend.requests > 1) stream.end();
    }),
  );
  const connections = connectionsTo(backend.url);
  await endOf(connections, { onResponseStart: (controller) => controller.abort(new Error('not wanted')) });
  await eventually('its stream is closed', () => backend.sessions[0]?.state.outboundQueueSize === 0);
  expect([await endOf(connections), backend.sessions.length]).toEqual([200, 1]);
  await connections.close();
});

test('a request that is aborted at the head of its response: no call follows, though the head is all of it', async () => {
  const { url } = cleanup.add(
    await Http2Backend.start((stream) => stream.respond({ ':status': 204 }, { endStream: true })),
  );
  const connections = connectionsTo(url);
  const calls: string[] = [];
  await new Promise<void>((resolve) => {
    ask(connections, {
      onResponseStart: (controller: Dispatcher.DispatchController) => {
        calls.push('head');
        controller.abort(new Error('not wanted'));
      },
      onResponseEnd: () => calls.push('end'),
      onResponseError: (_controller, { message }) => {
        calls.push(message);
        setImmediate(resolve);
      },
    });
  });
  expect(calls).toEqual(['head', 'not wanted']);
  await connections.close();
});

(NOTICES_ERRORS ? test : test.skip)('a request right after the loss of a connection gets another one', async () => {
  let opened = 0;
  const connections = connectionsTo('http://a', (_target, callback) => {
    const [near, far] = duplexPair();
    cleanup.add({ close: () => near.destroy() });
    opened += 1;
    far.write(frame(SETTINGS, 0, 0));
    let received = 0;
    far.on('data', (chunk: Buffer) => {
      received += chunk.length;
      // The request is there. Content must have a stream (RFC 9113 §6.1).
      if (received > 80) far.write(frame(DATA, 0, 0, 'x'));
    });
    callback(null, Object.assign(near, { bytesRead: 0 }) as unknown as Socket);
  });
  const lost = () => new Promise<number>((resolve) => ask(connections, { onResponseError: () => resolve(opened) }));
  expect([await lost(), await lost()]).toEqual([1, 2]);
});

test.each<[string, (connections: Http2Connections) => Promise<void>]>([
  ['closed', (connections) => connections.close()],
  ['destroyed', (connections) => connections.destroy(new Error('removed'))],
])('%s connections take no request', async (_how, end) => {
  let opened = 0;
  const connections = connectionsTo('http://a', () => {
    opened += 1;
  });
  await end(connections);
  const errors: unknown[] = [];
  ask(connections, { onResponseError: (_controller, reason) => errors.push(reason) });
  expect([errors, opened]).toEqual([[expect.objectContaining({ code: 'UND_ERR_CLOSED' })], 0]);
});

test('a connection that opens after its backend was cut is closed at once', async () => {
  let opened: ((error: null, socket: Socket) => void) | undefined;
  const connections = connectionsTo('http://a', (_target, callback) => {
    opened = callback;
  });
  const errors: unknown[] = [];
  ask(connections, { onResponseError: (_controller, reason) => errors.push(reason) });
  const removed = new Error('removed');
  await connections.destroy(removed);
  expect(errors).toEqual([removed]);
  const [near] = duplexPair();
  opened?.(null, Object.assign(near, { bytesRead: 0 }) as unknown as Socket);
  expect(near.destroyed).toBe(true);
});

test('a request that is aborted before it is sent does not reach the backend', async () => {
  const backend = cleanup.add(await Http2Backend.start((stream) => stream.respond({}, { endStream: true })));
  const connections = connectionsTo(backend.url);
  const errors: string[] = [];
  ask(connections, {
    onRequestStart: (controller: Dispatcher.DispatchController) => controller.abort(new Error('not wanted')),
    onResponseError: (_controller, { message }) => errors.push(message),
  });
  await new Promise<void>((resolve) => ask(connections, { onResponseEnd: () => resolve() }));
  expect([errors, backend.requests]).toEqual([['not wanted'], 1]);
  await connections.close();
});

test.each(['onResponseStart', 'onResponseData'] as const)('an error of %s ends the request with it', async (name) => {
  const { url } = cleanup.add(
    await Http2Backend.start((stream) => {
      stream.respond({ ':status': 200 });
      stream.write('some');
    }),
  );
  const error = new Error('cannot be passed on');
  const fail = () => {
    throw error;
  };
  const connections = connectionsTo(url);
  const seen = new Promise((resolve) => {
    ask(connections, { [name]: fail, onResponseError: (_controller, reason) => resolve(reason) });
  });
  expect(await seen).toBe(error);
  await connections.close();
});
