import { createHmac } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import { RoundRobin } from '../../../lib/backends/selection/round-robin.ts';
import { StickyCookie, type StickyCookieAttributes } from '../../../lib/backends/selection/sticky-cookie.ts';
import { cookieValue } from '../../../lib/core/http.ts';
import { exchange, type FakeBackend, type FakeRequest, manyBackends, setCookies } from './fake-backend.ts';

const SECRET = 'the first secret, of forty characters...';
const sticky = (secrets: readonly string[] = [SECRET], cookie = 'lb') =>
  new StickyCookie({ secrets, cookie, fallback: new RoundRobin() });

/** One request with a cookie, or without: who was picked, and what was set. */
function ask(policy: StickyCookie, backends: readonly FakeBackend[], cookie?: string, request: FakeRequest = {}) {
  const one = exchange({ ...request, headers: { ...request.headers, ...(cookie === undefined ? {} : { cookie }) } });
  const backend = policy.select(backends, one, []);
  const lines = setCookies(one);
  return { backend, lines, pair: lines[0]?.split(';')[0] };
}

describe('the sticky cookie', () => {
  test('a client without a cookie gets the next backend and its cookie, and keeps both', () => {
    const backends = manyBackends(3);
    const policy = sticky();
    const first = ask(policy, backends);
    expect(first.backend).toBe(backends[0]);
    expect(first.lines).toEqual([expect.stringMatching(/^lb=[\w-]{11}\.[\w-]{43}; Path=\/; HttpOnly; SameSite=Lax$/)]);
    expect(ask(policy, backends).backend).toBe(backends[1]);
    for (let request = 0; request < 5; request += 1) {
      expect(ask(policy, backends, `a=b; ${first.pair}; c=d`)).toEqual({
        backend: backends[0],
        lines: [],
        pair: undefined,
      });
    }
  });

  test.each<[StickyCookieAttributes, string]>([
    [{}, '; Path=/; HttpOnly; SameSite=Lax'],
    [{ sameSite: 'strict', path: '/shop' }, '; Path=/shop; HttpOnly; SameSite=Strict'],
    [{ sameSite: 'none' }, '; Path=/; HttpOnly; SameSite=None; Secure'],
    [{ domain: 'example.com', maxAgeMs: 90_500 }, '; Path=/; Domain=example.com; Max-Age=91; HttpOnly; SameSite=Lax'],
    [{ partitioned: true }, '; Path=/; HttpOnly; SameSite=Lax; Partitioned; Secure'],
  ])('with %j has the attributes %s', (attributes, text) => {
    const policy = new StickyCookie({ secrets: [SECRET], cookie: 'lb', fallback: new RoundRobin(), attributes });
    expect(ask(policy, manyBackends(1)).lines[0]?.replace(/^lb=[^;]+/, '')).toBe(text);
    const secure = ask(policy, manyBackends(1), undefined, { encrypted: true }).lines[0];
    expect(secure?.match(/; Secure/g)).toHaveLength(1);
  });

  test.each(['__Host-lb', '__Secure-lb'])('%s is Secure on any connection: browsers drop it otherwise', (cookie) => {
    expect(ask(sticky([SECRET], cookie), manyBackends(1)).lines[0]).toMatch(/; Secure$/);
  });

  test('reveals no address, and differs between applications', () => {
    const backends = manyBackends(1);
    const values = [sticky(), sticky(['another secret, of forty characters.....']), sticky([SECRET], 'other')].map(
      (policy) => ask(policy, backends).pair?.split('=')[1] as string,
    );
    expect(new Set(values).size).toBe(3);
    for (const value of values) {
      const bytes = value.split('.').map((part) => Buffer.from(part, 'base64url').toString('latin1'));
      expect(bytes.join()).not.toMatch(/10\.0\.0|8080/);
    }
  });

  test('is the same for every client, gateway and restart', () => {
    const { pair } = ask(sticky(), manyBackends(3));
    expect(ask(sticky(), manyBackends(3).toReversed(), pair).backend?.origin).toBe('http://10.0.0.0:8080');
  });

  test('is Secure when the client speaks TLS, here or to a trusted proxy in front', () => {
    const secure = (request: FakeRequest) =>
      /; Secure$/.test(ask(sticky(), manyBackends(1), undefined, request).lines[0]!);
    const https = { 'x-forwarded-proto': 'https' };
    expect(secure({})).toBe(false);
    expect(secure({ encrypted: true })).toBe(true);
    expect(secure({ headers: https })).toBe(false);
    expect(secure({ headers: https, trusted: true })).toBe(true);
    expect(secure({ headers: { 'x-forwarded-proto': 'HTTPS, http' }, trusted: true })).toBe(true);
    expect(secure({ headers: { 'x-forwarded-proto': 'http' }, trusted: true, encrypted: true })).toBe(false);
    expect(secure({ headers: { 'x-forwarded-proto': 'httpsx' }, trusted: true })).toBe(false);
  });

  test('clients of an unavailable backend get another backend and a new cookie', () => {
    const backends = manyBackends(2);
    const policy = sticky();
    const { pair } = ask(policy, backends);
    backends[0]!.available = false;
    const moved = ask(policy, backends, pair);
    expect(moved.backend).toBe(backends[1]);
    backends[0]!.available = true;
    expect(ask(policy, backends, moved.pair)).toMatchObject({ backend: backends[1], lines: [] });
  });

  test('clients of a full backend are served by another, but keep their cookie', () => {
    const backends = manyBackends(2);
    const policy = sticky();
    const { pair } = ask(policy, backends);
    backends[0]!.full = true;
    expect(ask(policy, backends, pair)).toMatchObject({ backend: backends[1], lines: [] });
    expect(ask(policy, backends)).toMatchObject({ backend: backends[1], lines: [expect.stringMatching(/^lb=/)] });
    backends[0]!.full = false;
    expect(ask(policy, backends, pair)).toMatchObject({ backend: backends[0], lines: [] });
  });

  test('clients of a removed backend get a new cookie', () => {
    const backends = manyBackends(3);
    const policy = sticky();
    const { pair } = ask(policy, backends);
    const rest = backends.slice(1);
    const moved = ask(policy, rest, pair);
    expect(rest).toContain(moved.backend);
    expect(moved.lines).toHaveLength(1);
    expect(ask(policy, rest, moved.pair)).toMatchObject({ backend: moved.backend, lines: [] });
  });

  test('when the first one picked fails, only the cookie of the last one is left, beside those of others', () => {
    const backends = manyBackends(2);
    const policy = sticky();
    const one = exchange();
    one.res.setHeader('Set-Cookie', 'session=1');
    const first = policy.select(backends, one, []) as FakeBackend;
    const second = policy.select(backends, one, [first]);
    expect([first, second]).toEqual(backends);
    const lines = setCookies(one);
    expect(lines).toEqual(['session=1', expect.stringMatching(/^lb=/)]);
    expect(ask(policy, backends, lines[1]!.split(';')[0]).backend).toBe(second);
  });

  test('sets no cookie after the head was sent, or when no backend is available', () => {
    const backends = manyBackends(1);
    const answered = exchange();
    answered.res.flushHeaders();
    expect(sticky().select(backends, answered, [])).toBe(backends[0]);
    const lost = exchange();
    expect(sticky().select(backends, lost, [...backends])).toBeUndefined();
    expect(setCookies(lost)).toEqual([]);
  });

  test('after a change of the secret old cookies are accepted and renewed', () => {
    const backends = manyBackends(5);
    const old = ask(sticky(), backends);
    const secrets = ['the second secret, of forty characters..', SECRET];
    const renewed = ask(sticky(secrets), backends, old.pair);
    expect(renewed.backend).toBe(old.backend);
    expect(renewed.pair).not.toBe(old.pair);
    expect(ask(sticky(secrets), backends, renewed.pair)).toMatchObject({ backend: old.backend, lines: [] });
    expect(ask(sticky(secrets.slice(0, 1)), backends, old.pair).lines).toHaveLength(1);
  });

  test('measures latency when its fallback policy needs it', () => {
    const fallback = { observesLatency: true, select: () => undefined };
    expect(new StickyCookie({ secrets: [SECRET], cookie: 'lb', fallback }).observesLatency).toBe(true);
    expect(sticky().observesLatency).toBe(false);
  });
});

describe('tampered sticky cookies', () => {
  const backends = manyBackends(2);
  const policy = sticky();
  const { pair } = ask(policy, backends);
  const [name, signature] = (pair as string).slice(3).split('.') as [string, string];
  const other = (ask(policy, backends).pair as string).slice(3).split('.')[0];
  const hmac = (text: string, secret = SECRET) => createHmac('sha256', secret).update(text).digest('base64url');

  test.each([
    ['empty', ''],
    ['no signature', name],
    ['an empty signature', `${name}.`],
    ['a cut signature', `${name}.${signature.slice(0, -1)}`],
    ['a longer signature', `${name}.${signature}A`],
    ['another letter in the signature', `${name}.${signature[0] === 'A' ? 'B' : 'A'}${signature.slice(1)}`],
    ['the signature of another backend', `${other}.${signature}`],
    ['a name that is none', `AAAAAAAAAAA.${signature}`],
    ['an address', `10.0.0.0:8080.${signature}`],
    ['signed with another secret', `${name}.${hmac(`cookie lb ${name}`, 'guessed')}`],
    ['signed for another cookie', `${name}.${hmac(`cookie xx ${name}`)}`],
    ['letters beyond one byte', `${name}.${'é'.repeat(21)}a`],
    ['quoted', `"${name}.${signature}"`],
    ['too much of it', `${name}.${signature}`.repeat(200)],
    ['prototype names', '__proto__.x'],
  ])('%s is not accepted', (_what, value) => {
    // A fresh policy would pick the first one: this one is at the second.
    const found = ask(policy, backends, `lb=${value}`);
    expect(found.lines).toHaveLength(1);
    ask(policy, backends);
  });

  test('the genuine cookie is accepted', () => {
    expect(ask(policy, backends, `lb=${name}.${signature}`)).toMatchObject({ backend: backends[0], lines: [] });
  });
});

describe('the Cookie field', () => {
  test.each([
    ['a=1', 'a', '1'],
    ['a=1; b=2', 'b', '2'],
    ['a=1;b=2', 'b', '2'],
    [' a = 1 ', 'a', '1'],
    ['a=1; a=2', 'a', '1'],
    ['a="x=y"', 'a', '"x=y"'],
    ['xa=1; a=2', 'a', '2'],
    ['b; a=2', 'a', '2'],
    ['b;a', 'a', undefined],
    ['a', 'a', undefined],
    ['', 'a', undefined],
    [';;;', 'a', undefined],
    ['=1; a=2', 'a', '2'],
    ['b=a=1', 'a', undefined],
    [undefined, 'a', undefined],
  ])('%j has for %s the value %j', (field, name, value) => {
    expect(cookieValue(field, name)).toBe(value);
  });
});
