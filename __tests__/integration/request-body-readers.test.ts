import { createHash, randomBytes } from 'node:crypto';
import { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { Writable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import express, { type NextFunction, type Request, type Response } from 'express';
import { roundRobinProxy, undiciTransport } from 'expressway';
import { createProxyMiddleware, type Options } from 'http-proxy-middleware';
import { RequestBody } from '../../lib/proxy/request/request-body.ts';
import { Cleanup } from '../support/gateway.ts';
import { eventually, listen, standsStill } from '../support/servers.ts';

type Reader = (req: IncomingMessage) => unknown;

const ignore = () => {};

/** Takes each piece a turn later than it was offered. */
const slowly = () =>
  new Writable({
    highWaterMark: 1,
    write: (_chunk, _encoding, done) => setImmediate(done),
  });

async function readAll(req: IncomingMessage): Promise<void> {
  for await (const _chunk of req);
}

/** What middlewares do to a body in the tick in which they call `next()`. */
const READERS: Record<string, Reader> = {
  'a "data" listener': (req) => req.on('data', ignore),
  'a "data" listener that was removed again': (req) => req.on('data', ignore).off('data', ignore),
  'all listeners removed after one was added': (req) => req.on('data', ignore).removeAllListeners('data'),
  'once("data")': (req) => req.once('data', ignore),
  'resume()': (req) => req.resume(),
  'pause()': (req) => req.pause(),
  'a "data" listener that pauses and resumes': (req) =>
    req.on('data', () => {
      req.pause();
      setImmediate(() => req.resume());
    }),
  'pipe() into a hash': (req) => req.pipe(createHash('sha256')),
  'pipe() into something slow': (req) => req.pipe(slowly()),
  'two pipes': (req) => {
    req.pipe(slowly());
    req.pipe(createHash('sha256'));
  },
  'pipe() and unpipe()': (req) => {
    const end = slowly();
    req.pipe(end);
    req.unpipe(end);
  },
  'for await': (req) => void readAll(req).catch(ignore),
  '"readable" and read()': (req) =>
    req.on('readable', () => {
      while (req.read() !== null);
    }),
  'a "readable" listener that was removed again': (req) => req.on('readable', ignore).off('readable', ignore),
  nothing: ignore,
};

/** What middlewares do to framing, which is none of theirs. */
const EDITS: Record<string, (headers: IncomingMessage['headers']) => void> = {
  'content-length deleted': (headers) => void delete headers['content-length'],
  'transfer-encoding deleted': (headers) => void delete headers['transfer-encoding'],
  'both deleted': (headers) => {
    delete headers['content-length'];
    delete headers['transfer-encoding'];
  },
  'content-length: 0': (headers) => Object.assign(headers, { 'content-length': '0' }),
  'content-length too short': (headers) => Object.assign(headers, { 'content-length': '3' }),
  'content-length too long': (headers) => Object.assign(headers, { 'content-length': '99999999' }),
  'content-length as a number': (headers) => Object.assign(headers, { 'content-length': 5 }),
  'Content-Length in another spelling': (headers) => Object.assign(headers, { 'Content-Length': '1' }),
  'transfer-encoding added': (headers) => Object.assign(headers, { 'transfer-encoding': 'chunked' }),
};

const cleanup = new Cleanup();
const received: { readonly hash: string; readonly length: number }[] = [];
let url: string;
let warned: jest.SpiedFunction<typeof process.emitWarning>;

const hashOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

beforeAll(async () => {
  warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
  const backend = cleanup.add(
    await listen(async (req, res) => {
      const hash = createHash('sha256');
      let length = 0;
      // A client that breaks off ends here, and is never counted as a whole request.
      try {
        for await (const chunk of req) {
          hash.update(chunk as Buffer);
          length += (chunk as Buffer).length;
        }
      } catch {
        return;
      }
      received.push({ hash: hash.digest('hex'), length });
      res.end('whole');
    }),
  );
  const app = express();
  const of = (req: Request, name: string) => decodeURIComponent(req.get(name) ?? 'nothing');
  app.use(async (req: Request, _res: Response, next: NextFunction) => {
    EDITS[of(req, 'x-edit')]?.(req.headers);
    READERS[of(req, 'x-reader')]?.(req);
    // A whole round, so that bytes which nobody holds back are gone.
    if (req.get('x-late') !== undefined) for (let i = 0; i < 10; i += 1) await turn();
    if (req.get('x-decode') !== undefined) req.setEncoding('utf8');
    next();
  });
  const proxy = cleanup.add(roundRobinProxy({ backends: [backend.url] }));
  app.use('/roundRobinProxy', proxy);
  const pathRewrite = async (path: string) => {
    await turn();
    return path;
  };
  app.use('/pathRewrite', cleanup.add(roundRobinProxy({ backends: [backend.url], pathRewrite })));
  const pathFilter = (path: string) => path !== '';
  app.use('/pathFilter', cleanup.add(roundRobinProxy({ backends: [backend.url], pathFilter })));
  const plugged = (more: Options) =>
    createProxyMiddleware({
      target: backend.url,
      plugins: [undiciTransport()],
      on: {
        error: (error: NodeJS.ErrnoException, _req, res) => {
          if ('writeHead' in res) res.writeHead(500).end(error.code);
        },
      },
      ...more,
    });
  app.use('/undiciTransport', plugged({}));
  app.use('/undiciTransport-pathFilter', plugged({ pathFilter }));
  app.use((error: Error & { code?: string }, _req: Request, res: Response, _next: NextFunction) => {
    res.status(500).json({ detail: error.code });
  });
  url = cleanup.add(await listen(app)).url;
});
afterAll(async () => {
  warned.mockRestore();
  await cleanup.run();
});

async function send(path: string, body: Buffer, chunked: boolean, headers: Record<string, string>) {
  received.length = 0;
  const response = await fetch(`${url}/${path}`, {
    method: 'PUT',
    headers,
    ...(chunked ? { body: new Blob([new Uint8Array(body)]).stream(), duplex: 'half' } : { body: new Uint8Array(body) }),
  } as RequestInit);
  const text = await response.text();
  return { status: response.status, text };
}

const PATHS = ['roundRobinProxy', 'pathRewrite', 'pathFilter', 'undiciTransport', 'undiciTransport-pathFilter'];
const BODIES = [
  ['of a few bytes', 11],
  ['of several pieces', 400_000],
] as const;
const FRAMES = [
  ['a length', false],
  ['chunks', true],
] as const;
const WAYS = PATHS.flatMap((path) =>
  BODIES.flatMap(([size, length]) => FRAMES.map(([framing, chunked]) => ({ path, size, length, framing, chunked }))),
);

/** Those that take no byte away until somebody asks for them. */
const HARMLESS = ['pause()', 'a "readable" listener that was removed again', 'nothing'];
/** Those that pause() does not stop: a rewrite that takes its time loses to them. */
const PULLING = ['for await', '"readable" and read()'];

/** http-proxy-middleware waits before its transport gets a request. */
const keepsAll = (path: string, reader: string): boolean =>
  path === 'roundRobinProxy' || HARMLESS.includes(reader) || (/^path/.test(path) && !PULLING.includes(reader));

describe.each(WAYS)('$path, a body $size with $framing', ({ path, length, chunked }) => {
  const body = randomBytes(length);
  const whole = [200, 'whole', [{ hash: hashOf(body), length }]];
  const refused = [500, expect.stringContaining('ERR_EXPRESSWAY_BODY_ALREADY_READ'), []];
  const ask = async (headers: Record<string, string>) => {
    const { status, text } = await send(path, body, chunked, headers);
    return [status, text, received];
  };

  test.each(Object.keys(READERS))('arrives whole, or not at all, after %s in the same tick', async (reader) => {
    const answer = await ask({ 'x-reader': encodeURIComponent(reader) });
    expect(answer).toEqual(answer[0] === 200 || keepsAll(path, reader) ? whole : refused);
  });

  test.each(Object.keys(READERS))('arrives whole, or not at all, after %s in an earlier tick', async (reader) => {
    const answer = await ask({ 'x-reader': encodeURIComponent(reader), 'x-late': '1' });
    expect(answer).toEqual(answer[0] === 200 || reader === 'nothing' ? whole : refused);
  });

  test.each(Object.keys(EDITS))('arrives whole with %s in req.headers', async (edit) =>
    expect(await ask({ 'x-edit': encodeURIComponent(edit) })).toEqual(whole),
  );

  test('is refused after req.setEncoding(), because decoded text is not the original body', async () =>
    expect(await ask({ 'x-decode': '1' })).toEqual(refused));
});

test.each(PATHS)('%s sends no body when a middleware only pretends that there is one', async (path) => {
  received.length = 0;
  const edit = encodeURIComponent('content-length as a number');
  const response = await fetch(`${url}/${path}`, { headers: { 'x-edit': edit } });
  expect([response.status, received]).toEqual([200, [{ hash: hashOf(Buffer.alloc(0)), length: 0 }]]);
});

describe("a body larger than the proxy's buffer, for a backend that does not read it", () => {
  const BYTES = 40_000_000;

  /** Sends it through a middleware that reads; the backend begins when it is told to. */
  async function upload(reader: string, responseTimeoutMs = 20_000) {
    let begin: (() => void) | undefined;
    let length = 0;
    const backend = cleanup.add(
      await listen((req, res) => {
        begin = () => req.on('data', (chunk: Buffer) => (length += chunk.length)).on('end', () => res.end('whole'));
      }),
    );
    const app = express();
    let taken = 0;
    app.use((req, _res, next) => {
      req.on('data', (chunk: Buffer) => (taken += chunk.length));
      READERS[reader]?.(req);
      next();
    });
    const proxy = cleanup.add(roundRobinProxy({ backends: [backend.url], responseTimeoutMs }));
    app.use(proxy);
    const { url: at } = cleanup.add(await listen(app));
    const answer = fetch(at, { method: 'PUT', body: new Uint8Array(BYTES) });
    return { answer, proxy, begin: () => begin, taken: () => taken, length: () => length };
  }

  test('waits for the backend when the middleware pipes', async () => {
    const { answer, begin, taken, length } = await upload('pipe() into a hash');
    await eventually('the backend has the head', () => begin() !== undefined && taken() > 0);
    // All of it would be here by then, if nobody waited.
    await standsStill('nothing more is taken', taken);
    expect(taken()).toBeLessThan(BYTES / 2);
    begin()?.();
    const response = await answer;
    expect([response.status, await response.text(), length()]).toEqual([200, 'whole', BYTES]);
  });

  test('ends in a timeout of the backend, and not of the client, when the middleware pipes', async () => {
    const { answer } = await upload('pipe() into a hash', 300);
    expect((await answer).status).toBe(504);
  });

  // Here without a server: sockets take an unknown number of bytes before anything has to wait.
  test('is read and dropped once no attempt needs it, though the backend took none of it', async () => {
    const req = new IncomingMessage(new Socket());
    req.headers = { 'content-length': String(BYTES) };
    const body = new RequestBody(req, 0, 0, { bodyRefused: () => {} });
    body.reader().read(0);
    for (let i = 0; i < 4; i += 1) req.push(Buffer.alloc(65_536));
    await turn();
    expect([body.isStalled, req.readableLength > 0]).toEqual([true, true]);
    body.drain();
    await turn();
    expect(req.readableLength).toBe(0);
  });

  test('is refused when the middleware ignores backpressure, and frees its place', async () => {
    const { answer, proxy, length } = await upload('for await');
    const response = await answer;
    expect([response.status, await response.json(), length()]).toMatchObject([
      500,
      { cause: 'content_already_read' },
      0,
    ]);
    await eventually('nothing is in flight', () => proxy.load().inFlight + (proxy.status()[0]?.inFlight ?? 0) === 0);
  });
});
