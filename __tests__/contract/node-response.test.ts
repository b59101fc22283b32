import { createServer, type RequestListener, type ServerResponse } from 'node:http';
import { afterEach, describe, expect, test } from '@jest/globals';
import { Cleanup } from '../support/gateway.ts';
import { rawRequest } from '../support/raw-client.ts';
import { listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const send = async (listener: RequestListener) =>
  rawRequest(cleanup.add(await listen(listener, createServer(listener))).port, GET);

/** What lib/proxy/response/exact-head.ts works around, and what it relies on. When one of these fails, look there first. */
describe("node:http's response", () => {
  const disposition = 'attachment; filename="a\xc4\x8d\xc4\x8aX-Added: 1"';

  test('knows in `_hasBody` whether the client asked for a body, also when a middleware changes the method', async () => {
    let hasBody: unknown;
    await send((req, res) => {
      req.method = 'HEAD';
      hasBody = (res as ServerResponse & { _hasBody: unknown })._hasBody;
      res.end();
    });
    expect(hasBody).toBe(true);
  });

  test.each<[string, (res: ServerResponse) => void, boolean]>([
    ['the body is given to end()', (res) => res.end(Buffer.from('ok')), true],
    [
      'Content-Length comes before it, whatever sends the head',
      (res) => {
        res.removeHeader('Content-Disposition');
        res.setHeader('Content-Length', 2);
        res.setHeader('Content-Disposition', disposition);
        res.writeHead(200);
        res.end(Buffer.from('ok'));
      },
      true,
    ],
    [
      'the length is not known when the head is made',
      (res) => {
        res.write(Buffer.from('o'));
        res.end('k');
      },
      false,
    ],
  ])('re-encodes Content-Disposition when %s: a header is added', async (_case, answer, isAdded) => {
    const response = await send((_req, res) => {
      res.setHeader('Content-Disposition', disposition);
      answer(res);
    });
    expect(response.field('x-added')).toBe(isAdded ? '1"' : undefined);
    expect(response.all('content-disposition')).toEqual([isAdded ? 'attachment; filename="a' : disposition]);
  });

  test.each<[string, (res: ServerResponse) => void, string]>([
    ['flushHeaders()', (res) => res.removeHeader('Content-Length') ?? res.flushHeaders(), '\xc3\xa9'],
    ['text as the first part of the body', (res) => res.write('ok'), '\xc3\xa9'],
    ['bytes as the first part of the body', (res) => res.write(Buffer.from('ok')), '\xe9'],
  ])('a head that %s sends has its text in this encoding', async (_case, begin, expected) => {
    const response = await send((_req, res) => {
      res.setHeader('X-Any', '\xe9').setHeader('Content-Length', 2);
      begin(res);
      res.end();
    });
    expect(response.field('x-any')).toBe(expected);
  });

  test('joins lines of Cookie, and puts a reason phrase in place of an empty one', async () => {
    const response = await send((_req, res) => {
      res.statusMessage = '';
      res.setHeader('Cookie', ['a', 'b']).end();
    });
    expect([response.startLine, response.all('cookie')]).toEqual(['HTTP/1.1 200 OK', ['a; b']]);
  });

  test('makes its head with _storeHeader(), of the start line and the headers, and sends it with _send()', async () => {
    const seen: unknown[] = [];
    await send((_req, res) => {
      const inner = res as unknown as Record<'_storeHeader' | '_send', (...args: unknown[]) => unknown>;
      for (const name of ['_storeHeader', '_send'] as const) {
        const method = inner[name];
        inner[name] = (...args) => {
          seen.push([name, args[0]]);
          return method.apply(res, args);
        };
      }
      res.setHeader('X-A', '1').end('ok');
    });
    expect(seen.slice(0, 2)).toEqual([
      ['_storeHeader', 'HTTP/1.1 200 OK\r\n'],
      ['_send', 'ok'],
    ]);
  });
});
