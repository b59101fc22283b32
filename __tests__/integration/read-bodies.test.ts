import { createHmac } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import { gzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import express, { type NextFunction, type Request, type RequestHandler, type Response } from 'express';
import { OptionsError, parsedBody, type ReadBody, roundRobinProxy, undiciTransport } from 'expressway';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { Cleanup } from '../support/gateway.ts';
import { closedPort, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

let emitted: jest.SpiedFunction<typeof process.emitWarning>;
beforeAll(() => {
  emitted = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
});
afterAll(() => emitted.mockRestore());

interface Seen {
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

type Raw = IncomingMessage & { rawBody?: Buffer };

const verify = (req: Raw, _res: unknown, bytes: Buffer): void => {
  req.rawBody = bytes;
};

/** Reads bytes as they come, and decodes nothing. */
const readRaw: RequestHandler = (req, _res, next) => {
  const chunks: Buffer[] = [];
  req.on('data', (chunk: Buffer) => chunks.push(chunk));
  req.on('end', () => {
    (req as Raw).rawBody = Buffer.concat(chunks);
    next();
  });
};

async function gateway(
  path: string,
  parsers: readonly RequestHandler[],
  body: ReadBody | undefined,
  options: Partial<Parameters<typeof roundRobinProxy>[0]> = {},
) {
  const seen: Seen[] = [];
  const backend = cleanup.add(
    await listen(async (req, res) => {
      const chunks: Buffer[] = [];
      for await (const chunk of req) chunks.push(chunk as Buffer);
      seen.push({ headers: req.headers, body: Buffer.concat(chunks).toString('latin1') });
      res.end('ok');
    }),
  );
  const app = express();
  app.use(...parsers);
  const given = body === undefined ? {} : { body };
  if (path === 'roundRobinProxy') {
    app.use(cleanup.add(roundRobinProxy({ backends: [backend.url], ...options, ...given })));
  } else {
    app.use(createProxyMiddleware({ target: backend.url, plugins: [undiciTransport(given)] }));
  }
  const errors: string[] = [];
  app.use((error: Error & { code?: string }, _req: Request, res: Response, _next: NextFunction) => {
    errors.push(error.code ?? error.message);
    res.status(500).end();
  });
  const { url } = cleanup.add(await listen(app, createServer(app)));
  const post = async (content: string | Buffer, headers: Record<string, string>) => {
    const sent = typeof content === 'string' ? content : new Uint8Array(content);
    return (await fetch(url, { method: 'POST', body: sent, headers })).status;
  };
  return { seen, post, errors, backend };
}

const JSON_TYPE = { 'content-type': 'application/json' };
const FORM_TYPE = { 'content-type': 'application/x-www-form-urlencoded' };
const SPACED = '{ "a" : 1,\t"b":"\u00e9"}';

describe.each(['roundRobinProxy', 'undiciTransport'])('%s: a body that was read before', (path) => {
  test.each<[string, ReadBody]>([
    ['a property', 'rawBody'],
    ['a function', (req) => (req as Raw).rawBody],
    ['a function that gives text', (req) => (req as Raw).rawBody?.toString()],
  ])(
    'is forwarded byte for byte with %s that has the raw bytes, so that its signature is valid',
    async (_title, body) => {
      const { seen, post } = await gateway(path, [express.json({ verify })], body);
      const sign = (bytes: Buffer) => createHmac('sha256', 'secret').update(bytes).digest('hex');
      const sent = Buffer.from(SPACED);
      expect(await post(sent, { ...JSON_TYPE, 'x-signature': sign(sent) })).toBe(200);
      expect(seen[0]?.headers['content-length']).toBe(String(sent.length));
      expect(sign(Buffer.from(seen[0]?.body ?? '', 'latin1'))).toBe(seen[0]?.headers['x-signature']);
    },
  );

  test.each<[string, RequestHandler, Record<string, string>, string, string]>([
    ['JSON', express.json(), JSON_TYPE, SPACED, '{"a":1,"b":"\u00e9"}'],
    [
      'JSON of another type',
      express.json({ type: '*/*' }),
      { 'content-type': 'application/vnd.api+json; charset=utf-8' },
      '[ 1 ]',
      '[1]',
    ],
    ['JSON that is empty', express.json(), JSON_TYPE, '{}', '{}'],
    ['a form', express.urlencoded({ extended: false }), FORM_TYPE, 'a=1&b=%C3%A9&a=2', 'a=1&a=2&b=%C3%A9'],
    [
      'a nested form',
      express.urlencoded({ extended: true }),
      FORM_TYPE,
      'u[name]=x+y&u[tags][]=1',
      'u%5Bname%5D=x+y&u%5Btags%5D%5B%5D=1',
    ],
    ['text', express.text(), { 'content-type': 'text/plain' }, 'caf\u00e9', 'caf\u00e9'],
    ['bytes', express.raw(), { 'content-type': 'application/octet-stream' }, 'a\x00b', 'a\x00b'],
  ])('is rebuilt from %s', async (_title, parser, headers, sent, expected) => {
    const { seen, post } = await gateway(path, [parser], parsedBody);
    expect(await post(sent, headers)).toBe(200);
    expect(Buffer.from(seen[0]?.body ?? '', 'latin1').toString()).toBe(expected);
    expect(seen[0]?.headers['content-type']).toBe(headers['content-type']);
  });

  test('loses Content-Encoding when rebuilt, and keeps it with the original bytes', async () => {
    const headers = { ...JSON_TYPE, 'content-encoding': 'gzip' };
    const decoded = await gateway(path, [express.json({ verify })], 'rawBody');
    expect(await decoded.post(gzipSync(SPACED), headers)).toBe(200);
    expect([decoded.seen[0]?.headers['content-encoding'], decoded.seen[0]?.body]).toEqual([
      undefined,
      Buffer.from(SPACED).toString('latin1'),
    ]);
    // The text parser reads no JSON, so the proxy reads the body itself.
    for (const [parser, body] of [[readRaw, 'rawBody'] as const, [express.text(), undefined] as const]) {
      const coded = await gateway(path, [parser], body);
      expect(await coded.post(gzipSync(SPACED), headers)).toBe(200);
      expect([coded.seen[0]?.headers['content-encoding'], coded.seen[0]?.body]).toEqual([
        'gzip',
        gzipSync(SPACED).toString('latin1'),
      ]);
    }
  });

  test('is not requested from the option when nothing read it', async () => {
    const body = jest.fn(() => 'another');
    const { seen, post } = await gateway(path, [express.json()], body);
    expect(await post('text', { 'content-type': 'text/plain' })).toBe(200);
    expect([seen[0]?.body, body.mock.calls.length]).toEqual(['text', 0]);
  });

  test.each<[string, ReadBody | undefined, readonly RequestHandler[], Record<string, string>]>([
    ['without the option', undefined, [express.json()], JSON_TYPE],
    ['with a property that is not there', 'rawBody', [express.json()], JSON_TYPE],
    ['with a function that gives nothing', () => undefined, [express.json()], JSON_TYPE],
    [
      'of a type that cannot be made again',
      parsedBody,
      [
        express.raw(),
        (req, _res, next) => {
          req.body = { file: 1 };
          next();
        },
      ],
      { 'content-type': 'application/octet-stream' },
    ],
    ['with a value that is no body', (() => ({ a: 1 })) as never, [express.json()], JSON_TYPE],
    ['with a promise', (async () => '{}') as never, [express.json()], JSON_TYPE],
  ])('is refused with 500 %s', async (_title, body, parsers, headers) => {
    const { seen, post } = await gateway(path, parsers, body);
    expect(await post('{"a":1}', headers)).toBe(500);
    expect(seen).toEqual([]);
  });

  test('the option must be a name or a function', () => {
    const make = (body: unknown) =>
      path === 'roundRobinProxy'
        ? roundRobinProxy({ backends: ['http://a'], body: body as never })
        : createProxyMiddleware({ target: 'http://a', plugins: [undiciTransport({ body: body as never })] });
    for (const bad of [5, '', {}, null]) expect(() => make(bad)).toThrow(OptionsError);
  });
});

test('a body that was read before counts for maxBodyBytes, and goes to a second backend as well', async () => {
  const dead = `http://127.0.0.1:${await closedPort()}`;
  const small = await gateway('roundRobinProxy', [express.json({ verify })], 'rawBody', { maxBodyBytes: 5 });
  expect(await small.post(gzipSync('[1,2,3]'), { ...JSON_TYPE, 'content-encoding': 'gzip' })).toBe(413);
  const { seen, post, backend } = await gateway('roundRobinProxy', [express.json({ verify })], 'rawBody');
  const app = express();
  app.use(express.json({ verify }));
  app.use(cleanup.add(roundRobinProxy({ backends: [dead, backend.url], body: 'rawBody' })));
  const { url } = cleanup.add(await listen(app));
  expect(await post('[1]', JSON_TYPE)).toBe(200);
  for (let i = 0; i < 2; i += 1) {
    expect((await fetch(url, { method: 'POST', body: '[2]', headers: JSON_TYPE })).status).toBe(200);
  }
  expect(seen.map(({ body }) => body)).toEqual(['[1]', '[2]', '[2]']);
});

test('an error that the function throws reaches the error handlers', async () => {
  const { post, errors } = await gateway('roundRobinProxy', [express.json()], () => {
    throw new Error('thrown by body');
  });
  expect(await post('[1]', JSON_TYPE)).toBe(500);
  expect(errors).toEqual(['thrown by body']);
});
