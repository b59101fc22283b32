import type { Socket } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import type { RequestHandler } from 'express';
import { roundRobinProxy, undiciTransport } from 'expressway';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { EXPRESS_VERSIONS } from '../support/express-versions.ts';
import { Cleanup } from '../support/gateway.ts';
import { afterRead } from '../support/pause.ts';
import { RawClient } from '../support/raw-client.ts';
import { RecorderBackend } from '../support/recorder-backend.ts';
import { listen } from '../support/servers.ts';
import { expectWarnings } from '../support/warnings.ts';

// http-proxy-middleware still calls end() of a response that was cut.
expectWarnings('WARN_EXPRESSWAY_LISTENER');

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** A middleware that keeps the whole body, and sends it changed and with a length: an injector of scripts, a cache. */
const keeper =
  (onWrite = () => {}, onEnd = () => {}): RequestHandler =>
  (_req, res, next) => {
    const kept: Buffer[] = [];
    const { end } = res;
    res.write = (chunk: Uint8Array) => {
      onWrite();
      return kept.push(Buffer.from(chunk)) > 0;
    };
    res.end = (chunk?: unknown) => {
      onEnd();
      if (chunk instanceof Uint8Array || typeof chunk === 'string') kept.push(Buffer.from(chunk as string));
      const body = `<${Buffer.concat(kept)}>`;
      res.setHeader('content-length', Buffer.byteLength(body));
      return Reflect.apply(end, res, [body]);
    };
    next();
  };

const PROXIES = {
  'roundRobinProxy()': (backend: string) => cleanup.add(roundRobinProxy({ backends: [backend] })),
  'undiciTransport()': (target: string) => createProxyMiddleware({ target, plugins: [undiciTransport()] }),
};

const GET = 'GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n';
const LONG = 'x'.repeat(9_000);

describe.each(EXPRESS_VERSIONS)('a middleware that keeps the body of a response, in %s', (_name, create) => {
  describe.each(Object.entries(PROXIES))('before %s', (_proxy, proxyTo) => {
    async function setUp(script: (socket: Socket) => void, keeps = keeper()) {
      const backend = cleanup.add(await RecorderBackend.start(script));
      const app = create().set('env', 'test').use(keeps, proxyTo(backend.url));
      const { port } = cleanup.add(await listen(app));
      return cleanup.add(await RawClient.connect(port));
    }

    test.each([
      ['with a length', `Content-Length: ${LONG.length}`, [LONG.slice(0, 5_000), LONG.slice(5_000)], LONG],
      ['in chunks', 'Transfer-Encoding: chunked', ['2\r\nok\r\n', '2\r\nok\r\n0\r\n\r\n'], 'okok'],
      ['with trailers', 'Transfer-Encoding: chunked', ['2\r\nok\r\n', '0\r\nX-Sum: 1\r\n\r\n'], 'ok'],
    ])('may write headers at its end: %s', async (_what, framing, parts, body) => {
      const client = await setUp((socket) => {
        socket.write(`HTTP/1.1 200 OK\r\n${framing}\r\n\r\n`);
        afterRead(() => {
          socket.write(parts[0] as string);
          afterRead(() => socket.write(parts[1] as string));
        });
      });
      client.send(GET);
      expect(await client.response()).toMatchObject({ status: 200, content: Buffer.from(`<${body}>`) });
    });

    test.each([
      ['of an event stream', 'text/event-stream', GET],
      [
        'for a client that still sends its body',
        'text/plain',
        'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n',
      ],
    ])('does not delay the head %s', async (_what, type, request) => {
      const backend = cleanup.add(
        await listen((_req, res) => res.writeHead(200, { 'content-type': type }).flushHeaders()),
      );
      const app = create().use(keeper(), proxyTo(backend.url));
      const client = cleanup.add(await RawClient.connect(cleanup.add(await listen(app)).port));
      client.send(request);
      await client.until((bytes) => bytes.includes('\r\n\r\n'));
      expect(client.pending.toString()).toMatch(/^HTTP\/1\.1 200 /);
    });

    test('does not delay the head where it passes flushHeaders() on', async () => {
      const flushing: RequestHandler = (_req, res, next) => {
        const { write, flushHeaders } = res;
        Object.assign(res, { write: write.bind(res), flushHeaders: flushHeaders.bind(res) });
        next();
      };
      const client = await setUp(
        (socket) => void socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n'),
        flushing,
      );
      client.send(GET);
      await client.until((bytes) => bytes.includes('\r\n\r\n'));
      expect(client.pending.toString()).toMatch(/^HTTP\/1\.1 200 /);
    });

    test('gets the bytes of a small body, not text', async () => {
      let got: unknown;
      const hashing: RequestHandler = (_req, res, next) => {
        const { end } = res;
        res.end = (...args: unknown[]) => {
          got = args[0];
          return Reflect.apply(end, res, args);
        };
        next();
      };
      const client = await setUp((socket) => {
        socket.write(Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xe9\xff', 'latin1'));
      }, hashing);
      client.send(GET);
      expect([[...(await client.response()).content], got]).toEqual([[0xe9, 0xff], Buffer.from([0xe9, 0xff])]);
    });

    test.each(['Content-Length: 9\r\n\r\na', 'Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n'])(
      'never joins the beginning of a response that broke off with another response: %j',
      async (response) => {
        let backend: Socket | undefined;
        const client = await setUp(
          (socket) => {
            backend = socket;
            socket.write(`HTTP/1.1 200 OK\r\n${response}`);
          },
          keeper(() => backend?.resetAndDestroy()),
        );
        client.send(GET);
        await client.more();
        expect(client.pending.toString()).toBe('');
      },
    );

    const broken = () => {
      throw new Error('the disk is full');
    };
    test.each([
      ['in write()', () => {}],
      ['in write() and in end()', broken],
    ])('never joins the beginning of a response with the error page after an error %s', async (_where, onEnd) => {
      let backend: Socket | undefined;
      let calls = 0;
      const onWrite = () => {
        calls += 1;
        if (calls === 2) broken();
        backend?.write('1\r\nb\r\n');
      };
      const client = await setUp(
        (socket) => {
          backend = socket;
          socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n');
        },
        keeper(onWrite, onEnd),
      );
      client.send(GET);
      await client.more();
      expect([calls, client.pending.toString()]).toEqual([2, '']);
    });
  });

  test('never joins it with the response of another backend', async () => {
    const sockets: Socket[] = [];
    const script = (socket: Socket) => {
      sockets.push(socket);
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n${sockets.length === 1 ? 'a' : 'good'}`);
    };
    const one = cleanup.add(await RecorderBackend.start(script));
    const two = cleanup.add(await RecorderBackend.start(script));
    const proxy = cleanup.add(roundRobinProxy({ backends: [one.url, two.url] }));
    const app = create().use(
      keeper(() => sockets[0]?.resetAndDestroy()),
      proxy,
    );
    const client = cleanup.add(await RawClient.connect(cleanup.add(await listen(app)).port));
    client.send(GET);
    await client.more();
    expect(client.pending.toString()).toBe('');
    expect(sockets).toHaveLength(1);
  });
});
