import { once } from 'node:events';
import { createServer as createHttpServer, type ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import { Socket } from 'node:net';
import { Readable } from 'node:stream';
import { afterEach, expect, jest, test } from '@jest/globals';
import type { Dispatcher } from 'undici';
import { AllConnections, type Destination } from '../../../lib/proxy/transport/all-connections.ts';
import { certificate } from '../../support/certificate.ts';
import { Cleanup } from '../../support/gateway.ts';
import { Http2Backend } from '../../support/http2-backend.ts';
import { eventually, listen } from '../../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** How a request ends: its status, or its error's code or message. */
function ask(connections: AllConnections, to: Destination, client?: Socket, host = 'a'): Promise<unknown> {
  return new Promise((resolve) => {
    let status = 0;
    connections.to(to).dispatch(
      { path: '/', method: 'GET', headers: ['host', host] },
      {
        onRequestStart: () => {},
        onResponseStart: (_controller, code) => {
          status = code;
        },
        onResponseData: () => {},
        onResponseEnd: () => resolve(status),
        onResponseError: (_controller, error: NodeJS.ErrnoException) => resolve(error.code ?? error.message),
      },
      client,
    );
  });
}

test('backends at one address with certificates for different names share no connection, in any order', async () => {
  let accepted = 0;
  const server = createServer(certificate, (_req, res) => res.end('ok')).on('secureConnection', () => {
    accepted += 1;
  });
  const { port } = cleanup.add(await listen(() => {}, server as never));
  const connections = cleanup.add(new AllConnections({ connectTimeoutMs: 1_000, tls: { ca: certificate.cert } }));
  const client = new Socket();
  const origin = `https://127.0.0.1:${port}`;
  const right: Destination = { identity: `${origin} api.test`, origin, serverName: 'api.test' };
  const wrong: Destination = { identity: `${origin} other.test`, origin, serverName: 'other.test' };

  const seen: unknown[] = [];
  for (const to of [right, wrong, right, wrong]) seen.push(await ask(connections, to, client));
  expect(seen).toEqual([200, 'ERR_TLS_CERT_ALTNAME_INVALID', 200, 'ERR_TLS_CERT_ALTNAME_INVALID']);
  const before = accepted;
  // The one that leaves takes no connection of the other with it.
  connections.remove(wrong.identity);
  connections.cut(wrong.identity);
  // Nor does another name in `Host`, which undici itself would take for that of the certificate.
  expect([await ask(connections, right, client, 'other.test'), accepted]).toEqual([200, before]);
});

test('cut() ends the requests to the backend that it names, and no others', async () => {
  const held: ServerResponse[] = [];
  const { url: origin } = cleanup.add(await listen((_req, res) => void held.push(res)));
  const connections = cleanup.add(new AllConnections({ connectTimeoutMs: 1_000 }));
  const responses = ['one', 'other'].map((identity) => ask(connections, { identity, origin }));
  await eventually('both requests arrive', () => held.length === 2);
  for (const identity of ['one', 'other']) connections.remove(identity);
  connections.cut('one');
  for (const res of held) res.end();
  expect(await Promise.all(responses)).toEqual(['the backend was removed', 200]);
});

test.each([true, false])(
  'a request over HTTP/2 that its handler aborts: no call follows, and its body is closed; with its last byte: %s',
  async (isLast) => {
    const { url } = cleanup.add(await Http2Backend.start(() => {}));
    const connections = cleanup.add(new AllConnections({ connectTimeoutMs: 1_000, protocol: 'http2' }));
    const body = new Readable({ read: () => {} });
    body.push('some');
    if (isLast) body.push(null);
    const calls: string[] = [];
    await new Promise<void>((resolve) => {
      let controller: Dispatcher.DispatchController | undefined;
      connections.to({ identity: url, origin: url }).dispatch(
        { path: '/', method: 'POST', headers: ['host', 'a'], body },
        {
          onRequestStart: (its) => {
            controller = its;
          },
          onBodySent: () => {
            calls.push('body sent');
            controller?.abort(new Error('not wanted'));
          },
          onRequestSent: () => calls.push('request sent'),
          onResponseError: (_controller, { message }) => {
            calls.push(message);
            setImmediate(resolve);
          },
        },
      );
    });
    expect([calls, body.destroyed]).toEqual([['body sent', 'not wanted'], true]);
  },
);

test.each<[string, (connections: AllConnections, to: Destination) => Promise<unknown>]>([
  ['closing them', (connections) => connections.close()],
  ['another keepAlive', (connections, to) => ask(connections, { ...to, keepAlive: false })],
])('%s ends connections that are free, long before these time out', async (_what, act) => {
  // No timer of undici fires.
  jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'clearImmediate', 'queueMicrotask', 'performance'] });
  cleanup.add({ close: () => jest.useRealTimers() });
  const ended: Promise<unknown>[] = [];
  const server = createHttpServer((_req, res) => res.end('ok')).on('connection', (socket: Socket) => {
    ended.push(once(socket, 'close'));
  });
  server.keepAliveTimeout = 0;
  const { url } = cleanup.add(await listen(() => {}, server));
  const connections = cleanup.add(new AllConnections({ connectTimeoutMs: 1_000 }));
  const to = { identity: url, origin: url };
  expect(await ask(connections, to)).toBe(200);
  await act(connections, to);
  await Promise.all(ended);
});

test('close() waits for the requests to backends that have left', async () => {
  const held: ServerResponse[] = [];
  const { url: origin } = cleanup.add(await listen((_req, res) => void held.push(res)));
  const connections = cleanup.add(new AllConnections({ connectTimeoutMs: 1_000 }));
  const order: unknown[] = [];
  const response = ask(connections, { identity: 'a', origin }).then((status) => order.push(status));
  await eventually('the request arrives', () => held.length === 1);
  connections.remove('a');
  const closing = connections.close().then(() => order.push('closed'));
  await new Promise((resolve) => setImmediate(resolve));
  held[0]?.end();
  await Promise.all([response, closing]);
  expect(order).toEqual([200, 'closed']);
});
