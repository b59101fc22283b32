import type { IncomingMessage } from 'node:http';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, test } from '@jest/globals';
import express, { type RequestHandler } from 'express';
import { parsedBody, roundRobinProxy, undiciTransport } from 'expressway';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { Cleanup } from '../support/gateway.ts';
import { listen } from '../support/servers.ts';
import { expectWarnings } from '../support/warnings.ts';

expectWarnings('ERR_EXPRESSWAY_BODY_ALREADY_READ');

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const TRANSPORTS: Record<string, (backend: string) => RequestHandler> = {
  'roundRobinProxy()': (backend) =>
    cleanup.add(roundRobinProxy({ backends: [backend], body: parsedBody })) as RequestHandler,
  'undiciTransport()': (backend) =>
    createProxyMiddleware({ target: backend, plugins: [undiciTransport({ body: parsedBody })] }) as RequestHandler,
};

const any = () => true;
const JSON_TYPE = 'application/json';
const FORM = 'application/x-www-form-urlencoded';
const json = express.json({ type: any, strict: false });
const text = express.text({ type: any });
const raw = express.raw({ type: any });
const extended = express.urlencoded({ extended: true });
const plain = express.urlencoded({ extended: false });
const utf8 = (content: string) => Buffer.from(content);
const latin1 = (content: string) => Buffer.from(content, 'latin1');
const utf16 = (content: string) => Buffer.from(content, 'utf16le');

/** How the gateway read a body, its content type, and its bytes. */
type Case = readonly [name: string, parser: RequestHandler, type: string, sent: Buffer];

/** Bodies that a backend gets byte for byte. */
const SAME: readonly Case[] = [
  ['JSON read as text', text, JSON_TYPE, utf8('{ "a": "\u00e9" }')],
  ['a JSON string read as text', text, JSON_TYPE, utf8('"a"')],
  ['invalid JSON read as text', text, JSON_TYPE, utf8('{"a":')],
  ['JSON in UTF-16 read as text', text, `${JSON_TYPE}; charset=utf-16le`, utf16('{"a":1}')],
  ['XML read as text', text, 'application/xml', utf8('<a>\u00e9</a>')],
  ['XML in Latin-1 read as text', text, 'application/xml; charset="ISO-8859-1"', latin1('<a>\u00e9</a>')],
  ['a form read as text', text, FORM, utf8('a=1&a[]=%E9')],
  ['text', text, 'text/plain', utf8('caf\u00e9')],
  ['text in Latin-1', text, 'text/plain; charset=iso-8859-1', latin1('caf\u00e9')],
  ['text in US-ASCII', text, 'text/plain; charset=us-ascii', utf8('cafe')],
  ['text in UTF-16', text, 'text/plain; charset=utf-16le', utf16('caf\u00e9')],
  ['text that has U+FFFD itself', text, 'text/plain', utf8('caf\ufffd')],
  ['text without a type', text, '', utf8('caf\u00e9')],
  ['bytes', raw, 'application/octet-stream', Buffer.from([0, 255, 128])],
  ['JSON read as bytes', raw, JSON_TYPE, utf8('{ "a": 1 }')],
  ['a form read as bytes', raw, FORM, utf8('a=1')],
  ['text of another charset read as bytes', raw, 'text/plain; charset=windows-1252', Buffer.from([0x80])],
];

/** Bodies that a backend reads as it would have read those of the client. */
const EQUAL: readonly Case[] = [
  ['JSON', json, JSON_TYPE, utf8('{ "a": [1, null, "\u00e9"], "b": {} }')],
  ['JSON of a type of its own', json, 'application/vnd.api+json', utf8('[ 1 ]')],
  ['JSON in UTF-16', json, `${JSON_TYPE}; charset=utf-16le`, utf16('{ "a": "\u00e9" }')],
  ...['"a"', '"\\u00e9 \\"b\\""', '""', '1', 'true', 'null', ' "a" '].map(
    (value): Case => [`JSON that is ${value}`, json, JSON_TYPE, utf8(value)],
  ),
  ...[extended, plain].flatMap((parser) =>
    [
      ...['a=1&b=%C3%A9&c=', 'a=1&a=2', 'a=1&b=2&a=3', 'tags[]=a', 'tags[]=a&tags[]=b', 'tags[0]=a', 'f[tags][]=a'],
      ...['f[a]=1&f[b]=2', 'f[0][a]=1&f[1][a]=2', 'f[0][a]=1', 'f[a][b][c]=1', 'f[][]=a', 'f[0][]=a&f[1][]=b', 'f[]='],
    ].map((form): Case => [`the form ${form}, ${parser === plain ? 'plain' : 'extended'}`, parser, FORM, utf8(form)]),
  ),
  ['a form of ASCII in Latin-1', extended, `${FORM}; charset=iso-8859-1`, latin1('a=1&b=x+y')],
];

/** Bodies that cannot be sent as the client meant them. */
const LOST: readonly Case[] = [
  ['bytes that are invalid in the charset', text, 'text/plain', latin1('caf\u00e9')],
  ['text of a charset that Node cannot write', text, 'text/plain; charset=windows-1252', Buffer.from([0x80])],
  ['a form in Latin-1', extended, `${FORM}; charset=iso-8859-1`, latin1('a=%E9')],
  ['an object of another type', json, 'application/octet-stream', utf8('{"a":1}')],
];

describe.each(Object.entries(TRANSPORTS))('parsedBody of %s', (_name, transport) => {
  async function pass(
    [, parser, type, sent]: Case,
    coding?: string,
    change: RequestHandler = (_req, _res, next) => next(),
  ) {
    const seen: Buffer[] = [];
    const backend = cleanup.add(
      await listen(async (req, res) => {
        seen.push(Buffer.concat(await (req as IncomingMessage).toArray()));
        res.end('ok');
      }),
    );
    const gateway = express().use(parser, change, transport(backend.url));
    gateway.use(((_error, _req, res, _next) => void res.status(500).end()) as express.ErrorRequestHandler);
    const { url } = cleanup.add(await listen(gateway));
    const headers = { 'content-type': type, ...(coding && { 'content-encoding': coding }) };
    const body = new Uint8Array(coding === 'gzip' ? gzipSync(sent) : sent);
    const { status } = await fetch(url, { method: 'POST', headers, body });
    return { status, got: seen[0] };
  }

  /** What an Express app reads. */
  async function read(parser: RequestHandler, type: string, body: Buffer): Promise<unknown> {
    const app = express().use(parser, (req, res) => void res.json({ read: req.body }));
    const { url } = cleanup.add(await listen(app));
    const headers = { 'content-type': type };
    return (await fetch(url, { method: 'POST', headers, body: new Uint8Array(body) })).json();
  }

  test.each(SAME)('sends %s as it is', async (...one) => {
    const { status, got } = await pass(one);
    expect([status, got?.toString('latin1')]).toEqual([200, one[3].toString('latin1')]);
  });

  test.each(EQUAL)('keeps the data of %s', async (...one) => {
    const [, , type, sent] = one;
    const { status, got } = await pass(one);
    expect(status).toBe(200);
    for (const parser of type.startsWith(FORM) ? [one[1]] : [json]) {
      expect(await read(parser, type, got as Buffer)).toEqual(await read(parser, type, sent));
    }
  });

  test.each(LOST)('rejects %s', async (...one) => {
    expect(await pass(one)).toEqual({ status: 500, got: undefined });
  });

  test.each<[string, Case, string | undefined]>([
    ['an object as text', ['', text, JSON_TYPE, utf8('{ "a": 1 }')], '{ "a": 1 }'],
    ['a string as text', ['', text, JSON_TYPE, utf8('"a"')], undefined],
    ['a string', ['', json, JSON_TYPE, utf8('"a"')], undefined],
    ['an object', ['', json, JSON_TYPE, utf8('{ "a": 1 }')], '{"a":1}'],
    ['invalid text', ['', text, 'text/plain', latin1('caf\u00e9')], undefined],
  ])('compressed, sends JSON or text only if it is sure: %s', async (_what, one, expected) => {
    const { got } = await pass(one, 'gzip');
    expect(got?.toString()).toBe(expected);
  });

  test.each<[string, Case, unknown, string | undefined]>([
    ['text', ['', text, 'text/plain', utf8('abc')], 'longer than before', 'longer than before'],
    ['an object', ['', json, JSON_TYPE, utf8('{}')], { b: 1 }, '{"b":1}'],
    ['JSON as text, which could be a string', ['', text, JSON_TYPE, utf8('{"a":1}')], '{}', undefined],
  ])('sends what a middleware has changed: %s', async (_what, one, body, expected) => {
    const { got } = await pass(one, undefined, (req, _res, next) => {
      req.body = body;
      next();
    });
    expect(got?.toString()).toBe(expected);
  });
});
