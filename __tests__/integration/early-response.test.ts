import type { Server } from 'node:http';
import { afterEach, describe, expect, test } from '@jest/globals';
import express, { type Express } from 'express';
import { undiciTransport } from 'expressway';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { EARLY, EarlyBackend, upload } from '../differential/early-responses.ts';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { afterRead } from '../support/pause.ts';
import { type Protocol, WITH_TLS } from '../support/protocols.ts';
import { RawClient } from '../support/raw-client.ts';
import { recordedGateway } from '../support/recorded-gateway.ts';
import { RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const UPLOADS = 12;
/** More than the buffers of two sockets take. */
const UPLOAD_BYTES = 33_554_432;

async function pluginGateway(
  target: string,
  serverOf: Protocol['serverOf'],
  failed: () => void,
): Promise<{ port: number; server: Server }> {
  const app = express();
  app.use(
    createProxyMiddleware({
      target,
      plugins: [undiciTransport()],
      on: {
        error: (_error, _req, res) => {
          failed();
          if ('writeHead' in res) res.writeHead(502).end();
        },
      },
    }),
  );
  return cleanup.add(await listen(app, serverOf(app)));
}

describe.each(WITH_TLS)('a response that comes while the request is still being sent, over $name', (protocol) => {
  const { serverOf } = protocol;

  test.each(Object.keys(EARLY))('reaches the client, every time: %s', async (kind) => {
    const backend = cleanup.add(await EarlyBackend.start(kind));
    const { port, proxy } = cleanup.add(await proxyGateway({ backends: [backend.url] }, undefined, serverOf));
    let failures = 0;
    proxy.events.on('attemptFailed', () => {
      failures += 1;
    });
    const plugin = await pluginGateway(backend.url, serverOf, () => {
      failures += 1;
    });
    for (const [transport, through] of [
      ['roundRobinProxy()', port],
      ['undiciTransport()', plugin.port],
    ] as const) {
      const seen = new Map<string, number>();
      for (let i = 0; i < UPLOADS; i += 1) {
        const result = await upload(through, i, protocol);
        seen.set(result, (seen.get(result) ?? 0) + 1);
      }
      expect([transport, ...seen]).toEqual([transport, ['413', UPLOADS]]);
    }
    expect(failures).toBe(0);
    expect(proxy.status()[0]).toMatchObject({ available: true, inFlight: 0 });
  });
});

/** Longer than one read of a socket, and short enough to be read whole by a gateway whose client reads nothing. */
const CONTENT = 'x'.repeat(40_000);

/** Each piece of a response seems to fill the client's connection for a moment. */
const slowClient = (app: Express): void => {
  app.use((_req, res, next) => {
    const write = res.write.bind(res) as (chunk: unknown) => boolean;
    res.write = (chunk: unknown) => {
      write(chunk);
      setTimeout(() => res.emit('drain'), 30);
      return false;
    };
    next();
  });
};

describe.each(WITH_TLS)(
  'a backend that resets the connection behind its response, to a slow client over $name',
  (protocol) => {
    const thenReset =
      (bytes: string): Script =>
      (socket) => {
        // In two pieces: the first one pauses the gateway.
        const end = bytes.indexOf('\r\n\r\n') + 10;
        socket.write(bytes.slice(0, end), () => {
          afterRead(() => socket.write(bytes.slice(end), () => afterRead(() => socket.resetAndDestroy(), 5)), 5);
        });
      };
    const chunked = `${CONTENT.length.toString(16)}\r\n${CONTENT}\r\n`;

    test.each([
      ['length', `HTTP/1.1 200 OK\r\nContent-Length: ${CONTENT.length}\r\n\r\n${CONTENT}`],
      [
        'length, to close',
        `HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ${CONTENT.length}\r\n\r\n${CONTENT}`,
      ],
      ['chunks', `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunked}0\r\n\r\n`],
    ])('delivers a complete response: framed by %s', async (_framing, bytes) => {
      const { port, proxy } = await setUp(thenReset(bytes));
      const outcomes = outcomesOf(proxy);
      const { content, framingComplete } = await protocol.request(port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n');
      expect([content.length, framingComplete]).toEqual([CONTENT.length, true]);
      await eventually('it is over', () => outcomes.length === 1);
      expect(outcomes).toEqual(['completed']);
    });

    test.each([
      ['length', `HTTP/1.1 200 OK\r\nContent-Length: ${CONTENT.length + 1}\r\n\r\n${CONTENT}`],
      ['chunks', `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunked}`],
      ['the end of the connection', `HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n${CONTENT}`],
    ])('cuts an incomplete response after its last byte: framed by %s', async (_framing, bytes) => {
      const { port, proxy } = await setUp(thenReset(bytes));
      const outcomes = outcomesOf(proxy);
      const { content, framingComplete } = await protocol.request(port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n');
      expect([content.length, framingComplete]).toEqual([CONTENT.length, false]);
      await eventually('it is over', () => outcomes.length === 1);
      expect(outcomes).toEqual(['http_response_incomplete ECONNRESET']);
    });

    async function setUp(script: Script) {
      const { backend } = await recordedGateway(script, cleanup);
      return cleanup.add(await proxyGateway({ backends: [backend.url] }, slowClient, protocol.serverOf));
    }
  },
);

test('a reset that the upload meets before it is read cuts a response that ends with the connection', async () => {
  let resume = (): void => {};
  const thenReset: Script = (socket) => {
    socket.pause().write('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nfirst');
    afterRead(() => {
      // More than a gateway reads while its client reads nothing.
      socket.write(Buffer.alloc(500_000));
      afterRead(() => {
        socket.resetAndDestroy();
        afterRead(resume);
      });
    });
  };
  const { url } = cleanup.add(await RecorderBackend.start(thenReset));
  const holdingClient = (app: Express): void => {
    app.use((_req, res, next) => {
      const write = res.write.bind(res) as (chunk: unknown) => boolean;
      let isHeld = true;
      resume = () => {
        isHeld = false;
        res.emit('drain');
      };
      res.write = (chunk: unknown) => write(chunk) && !isHeld;
      next();
    });
  };
  const { port, proxy } = cleanup.add(await proxyGateway({ backends: [url] }, holdingClient));
  const outcomes = outcomesOf(proxy);
  const client = cleanup.add(await RawClient.connect(port));
  client.send(`POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${UPLOAD_BYTES}\r\n\r\n`);
  client.send(Buffer.alloc(UPLOAD_BYTES));
  await eventually('it is over', () => outcomes.length === 1);
  expect(outcomes).toEqual(['http_response_incomplete ECONNRESET']);
});

function outcomesOf({ events }: Awaited<ReturnType<typeof proxyGateway>>['proxy']): string[] {
  const outcomes: string[] = [];
  events.on('forwarded', ({ outcome }) => {
    outcomes.push(
      outcome.kind === 'failed' ? `${outcome.cause} ${(outcome.error as NodeJS.ErrnoException).code}` : outcome.kind,
    );
  });
  return outcomes;
}
