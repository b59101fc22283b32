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
import { frame, GOAWAY, SETTINGS, uint32 } from '../../support/http2-frames.ts';
import { eventually } from '../../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

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

test('a request that follows the loss of a connection at once gets another connection', async () => {
  const backend = cleanup.add(
    await Http2Backend.start((stream) => {
      if (backend.requests === 1) stream.session?.destroy();
      else stream.respond({ ':status': 204 }, { endStream: true });
    }),
  );
  const connections = connectionsTo(backend.url);
  const second = await new Promise((resolve) => {
    const onResponseStart = (_controller: unknown, status: number) => resolve(status);
    const again = { onResponseStart, onResponseError: (_controller: unknown, error: Error) => resolve(error) };
    ask(connections, { onResponseError: () => ask(connections, again) });
  });
  expect(second).toBe(204);
  await connections.close();
});
