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
import { DATA, frame, GOAWAY, SETTINGS, uint32 } from '../../support/http2-frames.ts';
import { eventually } from '../../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** Before Node 24, a session does not notice that a backend breaks the protocol. */
const NOTICES_ERRORS = Number.parseInt(process.versions.node, 10) >= 24;
if (!NOTICES_ERRORS) process.stderr.write('SKIPPED: connections that end with an error of the protocol need Node 24\n');

const connectionsTo = (origin: string, connect: Connector = buildConnector({})) =>
  new Http2Connections({ origin, connect, connectTimeoutMs: 30_000, serverName: undefined, keepAlive: true });

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
