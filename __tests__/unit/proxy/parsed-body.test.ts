import { describe, expect, test } from '@jest/globals';
import { parsedBody } from 'expressway';

const JSON_TYPE = 'application/json';
const FORM = 'application/x-www-form-urlencoded';

/** A request as a body parser leaves it. */
const parsed = (type: string | undefined, body: unknown, more: Record<string, string> = {}) =>
  parsedBody({ headers: { ...(type === undefined ? {} : { 'content-type': type }), ...more }, body } as never);

describe('parsedBody() makes the body again', () => {
  test.each<[string, unknown, string]>([
    [JSON_TYPE, { a: 1, b: ['é'] }, '{"a":1,"b":["é"]}'],
    [JSON_TYPE, null, 'null'],
    [JSON_TYPE, 'text', '"text"'],
    ['Application/JSON; Charset="UTF-8"', { a: 1 }, '{"a":1}'],
    ['application/json; x=y ;  charset=utf8', { a: 1 }, '{"a":1}'],
    ['application/json;charset=us-ascii', { a: 1 }, '{"a":1}'],
    ['application/problem+json', { a: 1 }, '{"a":1}'],
    ['text/plain', 'hello', 'hello'],
    ['text/csv; charset=utf-8', 'a,b', 'a,b'],
    [FORM, { a: '1', b: 'x y&z' }, 'a=1&b=x+y%26z'],
    [FORM, { a: ['1', '2'], b: { c: '3', d: { e: '4' } } }, 'a=1&a=2&b%5Bc%5D=3&b%5Bd%5D%5Be%5D=4'],
    [FORM, { a: ['1'] }, 'a%5B%5D=1'],
    [FORM, { a: [{ b: '1' }, '2'] }, 'a%5B0%5D%5Bb%5D=1&a%5B1%5D=2'],
    [FORM, 'a=1', 'a=1'],
    ['image/svg+xml', 'text', 'text'],
    ['', 'text', 'text'],
    [FORM, { a: null, b: undefined, c: 0, d: false }, 'a=&b=&c=0&d=false'],
    [FORM, { a: [null, '1'] }, 'a=&a=1'],
    [FORM, null, ''],
    [FORM, {}, ''],
  ])('of %s: %j becomes %s', (type, body, expected) => {
    expect(parsed(type, body)).toBe(expected);
  });

  test.each([undefined, 'image/png', 'application/json; charset=latin1'])('of bytes, as %s: the same bytes', (type) => {
    const bytes = Buffer.from([0, 255]);
    expect(parsed(type, bytes)).toBe(bytes);
  });

  test.each([
    ['text/plain; charset=latin1', 'é', 'e9'],
    ['text/plain; charset=utf-16le', 'é', 'e900'],
    ['application/json; charset=iso-8859-1', 'é', '22e922'],
  ])('of %s: %s becomes the bytes %s', (type, body, expected) => {
    expect(Buffer.from(parsed(type, body) as Uint8Array).toString('hex')).toBe(expected);
  });

  test('of a text in chunks: the same text, if it is JSON', () => {
    const inChunks = { 'transfer-encoding': 'chunked' };
    expect(parsed(JSON_TYPE, '{"a": 1}', inChunks)).toBe('{"a": 1}');
    // It may have been a string in quotes, without which it is not JSON.
    expect(parsed(JSON_TYPE, 'text', inChunks)).toBeUndefined();
  });

  test.each<[string | undefined, unknown]>([
    [undefined, { a: 1 }],
    [JSON_TYPE, undefined],
    [FORM, undefined],
    [FORM, 5],
    ['text/plain', { a: 1 }],
    ['multipart/form-data', { a: '1' }],
    ['application/jsonp', { a: 1 }],
    ['application/a/b+json', { a: 1 }],
    ['x-application/json', { a: 1 }],
    ['application/+json', { a: 1 }],
    ['application/json; charset=utf-16', { a: 1 }],
    ['application/json; charset=xutf-8', { a: 1 }],
    ['text/plain; charset=latin1', '\u20ac'],
    ['text/plain; charset=us-ascii', 'é'],
    ['text/plain', '\ud800'],
  ])('makes no body that would differ from the original: %s, %j', (type, body) => {
    expect(parsed(type, body)).toBeUndefined();
  });
});
