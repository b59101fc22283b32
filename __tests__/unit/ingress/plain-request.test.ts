import { createServer, type Server } from 'node:http';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { plainRequest, simpleHeaders } from '../../../lib/ingress/plain-request.ts';
import { Cleanup } from '../../support/gateway.ts';
import { listen } from '../../support/servers.ts';

const H = 'Host: gw.example\r\n';
const read = (text: string) => plainRequest(Buffer.from(text, 'latin1'));

test('a whole request without content', () => {
  const fields = `${H}Accept: */*\r\nConnection: Keep-Alive\r\nX-Empty:\r\n`;
  const request = read(`GET /a/b?c=d HTTP/1.1\r\n${fields}\r\n`);
  expect(request).toEqual({ method: 'GET', target: '/a/b?c=d', fields });
  expect(simpleHeaders(request as never)).toEqual({
    host: 'gw.example',
    accept: '*/*',
    connection: 'Keep-Alive',
    'x-empty': '',
  });
});

test.each([
  ['before Host', `Content-Length: 5\r\n${H}`],
  ['behind Host', `${H}X: y\r\ncontent-length:5\r\n`],
])('a whole request with content, its length %s', (_where, fields) => {
  expect(read(`POST /orders HTTP/1.1\r\n${fields}\r\nhello`)).toMatchObject({ method: 'POST', target: '/orders' });
});

test('a whole request whose content has no bytes', () => {
  expect(read(`POST /orders HTTP/1.1\r\n${H}Content-Length: 0\r\n\r\n`)).toMatchObject({ method: 'POST' });
});

test('of a repeated header no value is taken', () => {
  expect(simpleHeaders(read(`GET / HTTP/1.1\r\n${H}X: 1\r\nx: 2\r\n\r\n`) as never)).toBeUndefined();
});

test.each<[string, string]>([
  ['a part of a head', `GET / HTTP/1.1\r\n${H}`],
  ['two requests', `GET / HTTP/1.1\r\n${H}\r\nGET / HTTP/1.1\r\n${H}\r\n`],
  ['bytes behind a request', `GET / HTTP/1.1\r\n${H}\r\nx`],
  ['a part of the content', `POST / HTTP/1.1\r\n${H}Content-Length: 5\r\n\r\nhell`],
  ['more than the content', `POST / HTTP/1.1\r\n${H}Content-Length: 5\r\n\r\nhello!`],
  ['content that is still to come', `POST / HTTP/1.1\r\n${H}Content-Length: 5\r\n\r\n`],
  ['two lengths', `POST / HTTP/1.1\r\n${H}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello`],
  ['a list of lengths', `POST / HTTP/1.1\r\n${H}Content-Length: 5, 5\r\n\r\nhello`],
  ['a signed length', `POST / HTTP/1.1\r\n${H}Content-Length: +5\r\n\r\nhello`],
  ['a space before the colon', `POST / HTTP/1.1\r\n${H}Content-Length : 5\r\n\r\nhello`],
  ['chunked content', `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`],
  ['a coding in disguise', `POST / HTTP/1.1\r\n${H}Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n`],
  ['a folded line', `GET / HTTP/1.1\r\n${H}X: a\r\n Content-Length: 5\r\n\r\n`],
  ['a bare line feed', `GET / HTTP/1.1\r\n${H}X: a\nContent-Length: 5\r\n\r\n`],
  ['a bare carriage return', `GET / HTTP/1.1\r\n${H}X: a\rContent-Length: 5\r\n\r\n`],
  ['a null byte', `GET / HTTP/1.1\r\n${H}X: a\0b\r\n\r\n`],
  ['no host', 'GET / HTTP/1.1\r\nX: y\r\n\r\n'],
  ['two hosts', `GET / HTTP/1.1\r\n${H}${H}\r\n`],
  ['an end of the connection', `GET / HTTP/1.1\r\n${H}Connection: close\r\n\r\n`],
  ['another protocol', `GET / HTTP/1.1\r\n${H}Connection: upgrade\r\nUpgrade: websocket\r\n\r\n`],
  ['an expectation', `POST / HTTP/1.1\r\n${H}Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello`],
  ['HTTP/1.0', `GET / HTTP/1.0\r\n${H}\r\n`],
  ['another method', `BREW / HTTP/1.1\r\n${H}\r\n`],
  ['a method in small letters', `get / HTTP/1.1\r\n${H}\r\n`],
  ['a version in small letters', `GET / http/1.1\r\n${H}\r\n`],
  ['two spaces', `GET  / HTTP/1.1\r\n${H}\r\n`],
  ['absolute form', `GET http://a/ HTTP/1.1\r\n${H}\r\n`],
  ['an asterisk', `OPTIONS * HTTP/1.1\r\n${H}\r\n`],
  ['an empty line first', `\r\nGET / HTTP/1.1\r\n${H}\r\n`],
  ['a line without a colon', `GET / HTTP/1.1\r\n${H}X\r\n\r\n`],
  ['a name that is none', `GET / HTTP/1.1\r\n${H}X(: y\r\n\r\n`],
  ['a very long head', `GET / HTTP/1.1\r\n${H}X: ${'y'.repeat(10_000)}\r\n\r\n`],
])('%s is left to the parser', (_what, text) => {
  expect(read(text)).toBeUndefined();
});

test('a head that almost matches takes no time', () => {
  const lines = 'X-Name: value: of: many: parts\r\n'.repeat(240);
  const bytes = Buffer.from(`POST / HTTP/1.1\r\n${lines}Content-Length : 5\r\n\r\nhello`);
  // Quadratic time would be some seconds.
  for (let count = 0; count < 1_000; count += 1) expect(plainRequest(bytes)).toBeUndefined();
});

describe('bytes that it takes for one request', () => {
  const cleanup = new Cleanup();
  let port = 0;
  let seen: string[] = [];
  let errors = 0;

  beforeAll(async () => {
    const server: Server = createServer((req, res) => {
      const pieces: Buffer[] = [];
      req.on('data', (piece) => pieces.push(piece));
      req.on('end', () => {
        seen.push(`${req.method} ${req.url} ${Buffer.concat(pieces).toString('latin1')}`);
        res.end();
      });
    });
    server.on('clientError', (_error, socket) => {
      errors += 1;
      socket.destroy();
    });
    ({ port } = cleanup.add(await listen(() => {}, server)));
  });
  afterAll(() => cleanup.run());

  const piece = fc.constantFrom(
    H,
    'Content-Length: 3\r\n',
    'Content-Length: 03\r\n',
    'content-length:\t3 \r\n',
    'Connection: keep-alive\r\n',
    'X: \x80\xff\t y\r\n',
    'X: a\r\n b\r\n',
    'Transfer-Encoding: chunked\r\n',
    'Keep-Alive: 3\r\n',
    'Trailer: x\r\n',
    'TE: trailers\r\n',
    '\r\n',
    'abc',
    '3\r\nabc\r\n0\r\n\r\n',
  );
  const bytes = fc
    .tuple(fc.constantFrom('GET', 'HEAD', 'POST', 'DELETE'), fc.array(piece, { minLength: 1, maxLength: 6 }))
    .map(([method, pieces]) => `${method} /x HTTP/1.1\r\n${H}${pieces.join('')}`);

  test('is one request for the parser of Node', async () => {
    await fc.assert(
      fc.asyncProperty(bytes, async (text) => {
        const request = read(text);
        fc.pre(request !== undefined);
        [seen, errors] = [[], 0];
        const socket = connect({ port, host: '127.0.0.1' });
        // A second one behind it shows where the first one ends.
        socket.write(`${text}GET /end HTTP/1.1\r\n${H}Connection: close\r\n\r\n`, 'latin1');
        socket.resume();
        await new Promise((resolve) => socket.once('close', resolve));
        const content = text.slice(text.indexOf('\r\n\r\n') + 4);
        expect([seen, errors]).toEqual([[`${request?.method} ${request?.target} ${content}`, 'GET /end '], 0]);
      }),
      { numRuns: 60 },
    );
  });
});
