import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { describe, expect, jest, test } from '@jest/globals';
import { HeaderSpelling } from '../../../lib/proxy/response/header-spelling.ts';
import { addTrailers, endsConnection } from '../../../lib/proxy/response/trailers.ts';

/** What goes to the client, and whether the head went before it. */
function pass(
  trailers: Record<string, string | string[] | undefined>,
  te: string | undefined = 'trailers',
  version = '1.1',
) {
  const req = new IncomingMessage(new Socket());
  req.httpVersion = version;
  if (te !== undefined) req.headers.te = te;
  const res = new ServerResponse(req);
  const added = jest.spyOn(res, 'addTrailers').mockImplementation(() => {});
  const flushed = jest.spyOn(res, 'flushHeaders');
  addTrailers(res, trailers, 'x-named');
  return { passed: added.mock.calls[0]?.[0], flushed: flushed.mock.calls.length };
}

test.each<[string | undefined, string, boolean]>([
  ['trailers', '1.1', true],
  ['Trailers', '1.1', true],
  ['gzip;q=0.5,\ttrailers ,deflate', '1.1', true],
  ['trailers', '1.0', false],
  ['xtrailers', '1.1', false],
  ['x trailers', '1.1', false],
  ['trailersx', '1.1', false],
  ['trailers;q=1', '1.1', false],
  ['gzip', '1.1', false],
  [undefined, '1.1', false],
])('a client with TE: %s of HTTP/%s gets trailers: %p', (te, version, gets) => {
  const { passed, flushed } = pass({ 'x-sum': '1' }, te ?? '', version);
  expect(passed).toEqual(gets ? [['x-sum', '1']] : undefined);
  expect(flushed).toBe(gets ? 1 : 0);
});

test('forbidden trailers, hop-by-hop ones and those that Connection names are dropped, others and repeated ones pass', () => {
  const dropped = [
    'content-length',
    'transfer-encoding',
    'set-cookie',
    'te',
    'connection',
    'x-named',
    'if-match',
    'access-control-allow-origin',
    'x-forwarded-for',
  ];
  const trailers = Object.fromEntries(dropped.map((name) => [name, 'x']));
  const none = pass(trailers);
  expect([none.passed, none.flushed]).toEqual([undefined, 0]);
  expect(pass({}).passed).toBeUndefined();
  expect(pass({ 'x-gone': undefined }).passed).toBeUndefined();
  expect(pass({ ...trailers, 'x-list': ['a', 'b'], 'x-gif-match': '1', 'x-sum': '1' }).passed).toEqual([
    ['x-list', 'a'],
    ['x-list', 'b'],
    ['x-gif-match', '1'],
    ['x-sum', '1'],
  ]);
});

test('the head that is out already is not flushed again', () => {
  const req = new IncomingMessage(new Socket());
  req.headers.te = 'trailers';
  const res = new ServerResponse(req);
  res.writeHead(200).flushHeaders();
  const flushed = jest.spyOn(res, 'flushHeaders');
  addTrailers(res, { 'x-sum': '1' }, undefined);
  expect(flushed).not.toHaveBeenCalled();
});

test.each([
  [{}, false],
  [{ 'x-sum': '1' }, false],
  [{ connection: '' }, true],
  [{ connection: 'keep-alive' }, true],
  [{ 'proxy-connection': 'x' }, true],
])('after the trailers %j, the connection ends: %p', (trailers, ends) => {
  expect(endsConnection(trailers)).toBe(ends);
});

describe('the spelling of names', () => {
  const raw = (...names: string[]) => names.flatMap((name) => [Buffer.from(name), Buffer.from('value')]);

  test('is that of the backend, in the order in which names come', () => {
    const spelling = new HeaderSpelling().read(raw('X-Sum', 'ETag', 'X-Sum', 'x-Last'));
    const all = () => ['x-sum', 'etag', 'x-last'].map((name) => spelling.of(name));
    expect(all()).toEqual(['X-Sum', 'ETag', 'x-Last']);
    expect(spelling.of('x-sum')).toBe('x-sum');
    spelling.again();
    expect(all()).toEqual(['X-Sum', 'ETag', 'x-Last']);
    // Of the next response, that may spell them in another way.
    spelling.read(raw('x-sum', 'Etag', 'X-LAST'));
    expect(all()).toEqual(['x-sum', 'Etag', 'X-LAST']);
    spelling.read(raw('x-sum', 'Etag', 'X-LAST'));
    expect(all()).toEqual(['x-sum', 'Etag', 'X-LAST']);
  });

  test('is lower case where nothing is known of it', () => {
    const spelling = new HeaderSpelling();
    expect(spelling.of('etag')).toBe('etag');
    expect(spelling.read(raw('ETag')).of('etag')).toBe('ETag');
    expect(spelling.read().of('etag')).toBe('etag');
    expect(spelling.read('junk').of('etag')).toBe('etag');
    expect(spelling.read(raw('ETaa', 'Etags', 'XTag')).of('etag')).toBe('etag');
  });

  test('is right for more names than are kept', () => {
    const names = Array.from({ length: 600 }, (_, i) => `X-Name-${i}`);
    const spelling = new HeaderSpelling();
    for (let round = 0; round < 2; round += 1) {
      spelling.read(raw(...names));
      expect(names.map((name) => spelling.of(name.toLowerCase()))).toEqual(names);
    }
  });
});
