import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:https';
import { Socket } from 'node:net';
import { afterEach, expect, jest, test } from '@jest/globals';
import { AllConnections, type Destination } from '../../../lib/proxy/transport/all-connections.ts';
import { certificate } from '../../support/certificate.ts';
import { Cleanup } from '../../support/gateway.ts';
import { listen } from '../../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

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

  /** How a request ends: its status, or its error's code. */
  const ask = (to: Destination): Promise<unknown> =>
    new Promise((resolve) => {
      let status = 0;
      connections.to(to).dispatch(
        { path: '/', method: 'GET', headers: ['host', 'a'] },
        {
          onRequestStart: () => {},
          onResponseStart: (_controller, code) => {
            status = code;
          },
          onResponseData: () => {},
          onResponseEnd: () => resolve(status),
          onResponseError: (_controller, error: NodeJS.ErrnoException) => resolve(error.code),
        },
        client,
      );
    });

  const seen: unknown[] = [];
  for (const to of [right, wrong, right, wrong]) seen.push(await ask(to));
  expect(seen).toEqual([200, 'ERR_TLS_CERT_ALTNAME_INVALID', 200, 'ERR_TLS_CERT_ALTNAME_INVALID']);
  // The one that leaves takes no connection of the other with it.
  const before = accepted;
  connections.remove(wrong.identity);
  connections.cut(wrong.identity);
  expect([await ask(right), accepted]).toEqual([200, before]);
});

test('closing them ends connections that are free, long before these time out', async () => {
  // No timer of undici fires.
  jest.useFakeTimers({ doNotFake: ['nextTick', 'setImmediate', 'clearImmediate', 'queueMicrotask', 'performance'] });
  cleanup.add({ close: () => jest.useRealTimers() });
  const ended: Promise<unknown>[] = [];
  const server = createHttpServer((_req, res) => res.end('ok')).on('connection', (socket: Socket) => {
    ended.push(once(socket, 'close'));
  });
  server.keepAliveTimeout = 0;
  const { url } = cleanup.add(await listen(() => {}, server));
  const connections = new AllConnections({ connectTimeoutMs: 1_000 });
  await new Promise<void>((resolve, reject) => {
    connections.to({ identity: url, origin: url }).dispatch(
      { path: '/', method: 'GET', headers: ['host', 'a'] },
      {
        onRequestStart: () => {},
        onResponseStart: () => {},
        onResponseData: () => {},
        onResponseEnd: () => resolve(),
        onResponseError: (_controller, error) => reject(error),
      },
    );
  });
  await connections.close();
  expect(await Promise.all(ended)).toHaveLength(1);
});
