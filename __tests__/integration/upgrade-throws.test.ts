import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import express from 'express';
import { type RoundRobinProxy, roundRobinProxy, upgradeHandler } from 'expressway';
import { exchangeOf } from '../../lib/core/exchange.ts';
import type { Outcome } from '../../lib/core/outcome.ts';
import { Cleanup } from '../support/gateway.ts';
import { PROTOCOLS, type Protocol, type TextClient } from '../support/protocols.ts';
import { RecorderBackend } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';
import { rawEcho, rawSilence, switchingFor, upgradeRequest } from '../support/tunnels.ts';

const cleanup = new Cleanup();
let warned: jest.SpiedFunction<typeof process.emitWarning>;
beforeEach(() => {
  warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
});
afterEach(async () => {
  await cleanup.run();
  warned.mockRestore();
});

const boom = () => {
  throw new Error('thrown by the app');
};

type Plant = (req: IncomingMessage, res: ServerResponse) => void;

/** Moments of an upgraded exchange at which code of the app runs. */
const MOMENTS: Readonly<Record<string, Plant>> = {
  'a listener of the connection, on data': ({ socket }) => socket.on('data', boom),
  'a listener of the connection, on end': ({ socket }) => socket.on('end', boom),
  'a listener of the connection, on close': ({ socket }) => socket.on('close', boom),
  'a listener of the connection, on drain': ({ socket }) => socket.on('drain', boom),
  'a listener of the request, on close': (req) => req.on('close', boom).on('end', boom).resume(),
  'a listener of the response, on close': (_req, res) => res.on('close', boom),
  'a listener of the response, on finish': (_req, res) => res.on('finish', boom),
  'setHeader()': (_req, res) => Object.assign(res, { setHeader: boom }),
  'getHeaders()': (_req, res) => Object.assign(res, { getHeaders: boom }),
  'writeHead()': (_req, res) => Object.assign(res, { writeHead: boom }),
  'detachSocket()': (_req, res) => Object.assign(res, { detachSocket: boom }),
};

const ENDINGS: Readonly<Record<string, (client: TextClient) => void>> = {
  'is served, and ends': ({ socket }) => socket.end('hello'),
  'is served, and resets': (client) => void client.socket.write('hello', () => client.abort()),
  'is refused': () => {},
};

async function gatewayOf(app: RequestListener, { serverOf }: Protocol): Promise<number> {
  const server = serverOf(app);
  server.on('upgrade', upgradeHandler(app));
  return cleanup.add(await listen(app, server)).port;
}

const inFlight = (proxy: RoundRobinProxy) => [proxy.status()[0]?.inFlight, proxy.load().inFlight];

const cases = Object.keys(MOMENTS).flatMap((moment) => Object.keys(ENDINGS).map((ending) => [moment, ending] as const));

/** Each breaks while the gateway writes the head that switches the protocol. */
const BREAKS: readonly (keyof typeof MOMENTS)[] = ['setHeader()', 'detachSocket()'];

describe.each(PROTOCOLS)('over $name', (protocol) => {
  test.each(cases)(
    '%s throws while a client %s: the process continues, and nothing stays in flight',
    async (moment, ending) => {
      const backend = cleanup.add(await RecorderBackend.start(rawEcho));
      if (ending === 'is refused')
        backend.script = (socket) => socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno');
      const proxy = cleanup.add(
        roundRobinProxy({ backends: [backend.url], tunnel: { closeTimeoutMs: 50 }, retry: { attempts: 0 } }),
      );
      const app = express();
      app.use((req, res, next) => {
        MOMENTS[moment]?.(req, res);
        next();
      }, proxy);
      const port = await gatewayOf(app, protocol);
      const client = cleanup.add(await protocol.connect(port));
      client.send(upgradeRequest());
      await eventually('something comes', () => client.pending.length > 0 || client.closedBy !== undefined);
      ENDINGS[ending]?.(client);
      await eventually('nothing is in flight', () => inFlight(proxy).every((count) => count === 0));
      await eventually('the client is let go of', () => client.closedBy !== undefined || client.socket.destroyed);
      await eventually('the backend is let go of', () => backend.connections.size === 0);
    },
  );

  test.each([
    ['throws', () => boom()],
    ['rejects', () => Promise.reject(new Error('thrown by the app'))],
  ])('a plain function as app that %s loses its connection, which a warning says', async (_how, app) => {
    const port = await gatewayOf(app as RequestListener, protocol);
    const client = cleanup.add(await protocol.connect(port));
    client.send(upgradeRequest());
    await client.closed();
    expect(warned).toHaveBeenCalledWith(
      expect.stringContaining('thrown by the app'),
      expect.objectContaining({ code: 'WARN_EXPRESSWAY_LISTENER' }),
    );
  });

  test('a throwing path function leaves the upgrade to other listeners', async () => {
    const backend = cleanup.add(await RecorderBackend.start(rawSilence));
    const app = express().use(cleanup.add(roundRobinProxy({ backends: [backend.url] })));
    const server = protocol.serverOf(app);
    server.on('upgrade', upgradeHandler(app, { path: () => boom() }));
    const { port } = cleanup.add(await listen(app, server));
    const client = cleanup.add(await protocol.connect(port));
    client.send(upgradeRequest());
    await eventually('it is an ordinary request', () => backend.requests[0]);
    expect(backend.requests[0]?.field('upgrade')).toBeUndefined();
    expect(warned).toHaveBeenCalledTimes(1);
  });

  test.each(BREAKS)(
    '%s that throws while the protocol is switched is the app’s fault, not the backend’s',
    async (moment) => {
      const backend = cleanup.add(
        await RecorderBackend.start((socket, { fields }) => {
          const head = fields.map(([name, value]) => `${name}: ${value}\r\n`).join('');
          socket.write(switchingFor(head).replace('\r\n', '\r\nX-Own: 1\r\n'));
        }),
      );
      const proxy = cleanup.add(roundRobinProxy({ backends: [backend.url] }));
      const failed: unknown[] = [];
      proxy.events.on('attemptFailed', (event) => failed.push(event));
      const outcomes: Outcome[] = [];
      const port = await gatewayOf(
        express().use((req, res, next) => {
          exchangeOf(req, res).observe({ settled: (outcome) => outcomes.push(outcome) });
          MOMENTS[moment]?.(req, res);
          next();
        }, proxy),
        protocol,
      );
      const client = cleanup.add(await protocol.connect(port));
      client.send(upgradeRequest());
      await client.closed();
      await eventually('nothing is in flight', () => inFlight(proxy).every((count) => count === 0));
      expect(outcomes).toMatchObject([{ kind: 'failed', cause: 'handler_error' }]);
      expect([failed, proxy.status()[0]]).toMatchObject([[], { circuit: 'closed' }]);
      expect(warned).toHaveBeenCalledWith(
        expect.stringContaining('thrown by the app'),
        expect.objectContaining({ code: 'WARN_EXPRESSWAY_LISTENER' }),
      );
    },
  );
});
