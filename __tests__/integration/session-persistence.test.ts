import { afterEach, describe, expect, test } from '@jest/globals';
import express from 'express';
import { type ServiceRouter, type ServiceRouterOptions, serviceRouter } from '../../lib/index.ts';
import { Cleanup } from '../support/gateway.ts';
import { listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const SECRET = 'the secret of all tests, 40 characters..';

/** A backend that responds with its name, and counts what it got. */
async function backend(name: string) {
  return cleanup.add(await listen((_req, res) => void res.end(name)));
}

async function gateway(options: ServiceRouterOptions): Promise<{ url: string; router: ServiceRouter }> {
  const router = cleanup.add(serviceRouter(options));
  const { url } = cleanup.add(await listen(express().use(router)));
  return { url, router };
}

/** A client that keeps cookies, of any path. */
class Browser {
  readonly cookies = new Map<string, string>();

  async get(url: string, headers: Record<string, string> = {}): Promise<string> {
    const cookie = [...this.cookies].map((pair) => pair.join('=')).join('; ');
    const response = await fetch(url, { headers: cookie === '' ? headers : { ...headers, cookie } });
    for (const line of response.headers.getSetCookie()) {
      const [, name = '', value = ''] = /^([^=]+)=([^;]*)/.exec(line) ?? [];
      this.cookies.set(name, value);
    }
    return response.text();
  }
}

async function visits(url: string, count: number, browser = new Browser()): Promise<string[]> {
  const seen: string[] = [];
  for (let visit = 0; visit < count; visit += 1) seen.push(await browser.get(url));
  return seen;
}

const sessionPersistence = { secret: SECRET };

describe('session persistence of a route', () => {
  test('a client stays at its backend; other routes of the service rotate on', async () => {
    const backends = [(await backend('one')).url, (await backend('two')).url, (await backend('three')).url];
    const { url } = await gateway({
      services: { shop: { backends } },
      routes: [
        { path: '/cart', service: 'shop', sessionPersistence },
        { path: '/', service: 'shop' },
      ],
    });
    const [first, ...later] = await visits(`${url}/cart`, 4);
    expect(later).toEqual([first, first, first]);
    expect(new Set(await visits(url, 3)).size).toBe(3);
    expect(new Set(await Promise.all([1, 2, 3].map(() => new Browser().get(`${url}/cart`)))).size).toBe(3);
  });

  test('routes have cookies of their own, unless they give one name', async () => {
    const backends = [(await backend('one')).url, (await backend('two')).url];
    const shared = { secret: SECRET, cookie: 'session', sameSite: 'strict' as const };
    const { url } = await gateway({
      services: { shop: { backends } },
      routes: [
        { path: '/a', service: 'shop', sessionPersistence },
        { path: '/b', service: 'shop', sessionPersistence },
        { path: '/c', service: 'shop', sessionPersistence: shared },
        { path: '/d', service: 'shop', sessionPersistence: shared },
      ],
    });
    const browser = new Browser();
    await browser.get(`${url}/a`);
    await browser.get(`${url}/b`);
    const names = [...browser.cookies.keys()];
    expect(names).toEqual([
      expect.stringMatching(/^expressway-sticky-[0-9a-f]{8}$/),
      expect.stringMatching(/^expressway-sticky-[0-9a-f]{8}$/),
    ]);
    const another = new Browser();
    const first = await another.get(`${url}/c`);
    expect(await another.get(`${url}/d`)).toBe(first);
    expect([...another.cookies.keys()]).toEqual(['session']);
    expect((await fetch(`${url}/c`)).headers.get('set-cookie')).toMatch(/; Path=\/; HttpOnly; SameSite=Strict$/);
  });
});

describe('a weighted split with session persistence', () => {
  const split = (stable: number, canary: number) => [
    { name: 'stable', weight: stable },
    { name: 'canary', weight: canary },
  ];

  test('a client stays on its side, also when its backend has left, and when weights change', async () => {
    const stable = [await backend('stable'), await backend('stable')];
    const canary = [await backend('canary'), await backend('canary')];
    const declared = (weights: [number, number], canaries: readonly { url: string }[]) => ({
      services: {
        stable: { backends: stable.map(({ url }) => url) },
        canary: { backends: canaries.map(({ url }) => url) },
      },
      routes: [{ service: split(...weights), sessionPersistence }],
    });
    const { url, router } = await gateway(declared([0, 1], canary));
    const tester = new Browser();
    expect(await tester.get(url)).toBe('canary');
    router.setDeclaration(declared([1_000_000, 1], canary));
    expect(new Set(await visits(url, 20, tester))).toEqual(new Set(['canary']));
    // A deployment: the canary has other backends, none of which the cookie names.
    router.setDeclaration(declared([1_000_000, 1], [await backend('canary')]));
    expect(new Set(await visits(url, 20, tester))).toEqual(new Set(['canary']));
    expect(await new Browser().get(url)).toBe('stable');
    // Rolled back: a weight of 0 is for all clients.
    router.setDeclaration(declared([1, 0], canary));
    expect(new Set(await visits(url, 3, tester))).toEqual(new Set(['stable']));
  });

  test('the cookie tells which of two services with the same backend it is for', async () => {
    const same = await backend('same');
    const { url } = await gateway({
      services: {
        stable: { backends: [same.url], requestHeaders: { set: { 'x-side': 'stable' } } },
        canary: { backends: [same.url], response: { headers: { set: { 'x-side': 'canary' } } } },
      },
      routes: [{ service: split(1, 1), sessionPersistence }],
    });
    const sides = new Set<string | null>();
    for (let client = 0; client < 30; client += 1) {
      const first = await fetch(url);
      sides.add(first.headers.get('x-side'));
      const cookie = first.headers.get('set-cookie')?.split(';')[0] ?? '';
      const again = await fetch(url, { headers: { cookie } });
      expect(again.headers.get('x-side')).toBe(first.headers.get('x-side'));
      expect(again.headers.get('set-cookie')).toBeNull();
    }
    expect(sides.size).toBe(2);
  });

  test('a forged cookie chooses no side', async () => {
    const { url, router } = await gateway({
      services: {
        stable: { backends: [(await backend('stable')).url] },
        canary: { backends: [(await backend('canary')).url] },
      },
      routes: [{ service: split(1, 1_000_000), sessionPersistence }],
    });
    const tester = new Browser();
    await tester.get(url);
    const [[name, value] = ['', '']] = tester.cookies;
    router.setDeclaration({
      services: {
        stable: { backends: [(await backend('stable')).url] },
        canary: { backends: [(await backend('canary')).url] },
      },
      routes: [{ service: split(1_000_000, 1), sessionPersistence }],
    });
    const forged = [
      value.slice(0, -1),
      `${value.slice(0, 6)}AAAAAAAAAAA${value.slice(17)}`,
      value.slice(0, 6),
      `${value}=`,
    ];
    for (const one of forged) {
      expect(await (await fetch(url, { headers: { cookie: `${name}=${one}` } })).text()).toBe('stable');
    }
    expect(await (await fetch(url, { headers: { cookie: `${name}=${value}` } })).text()).toBe('canary');
  });

  test('a header chooses the canary by a route of its own', async () => {
    const { url } = await gateway({
      services: {
        stable: { backends: [(await backend('stable')).url] },
        canary: { backends: [(await backend('canary')).url] },
      },
      routes: [
        { service: split(1, 0), sessionPersistence },
        { name: 'canary by header', headers: { 'x-canary': 'always' }, service: 'canary' },
      ],
    });
    const browser = new Browser();
    expect(await browser.get(url)).toBe('stable');
    expect(await browser.get(url, { 'x-canary': 'always' })).toBe('canary');
    expect(await browser.get(url)).toBe('stable');
  });
});

test.each([
  [{ respond: {}, sessionPersistence }, /route 1: sessionPersistence needs a service/],
  [{ service: 'a', sessionPersistence: {} }, /sessionPersistence: secret: must be a string of at least 32 characters/],
  [
    { service: 'a', sessionPersistence: { secret: SECRET, sessionName: 'x' } },
    /sessionPersistence: unknown option "sessionName": use cookie/,
  ],
  [
    { service: 'a', sessionPersistence: { secret: SECRET, cookie: '__Host-x', path: '/a' } },
    /cookie must not begin with __Host- beside/,
  ],
  [{ service: 'a', sticky: {} }, /unknown option "sticky": use sessionPersistence/],
])('%j is refused', (route, problem) => {
  const make = () =>
    serviceRouter({ services: { a: { backends: ['http://localhost:1'] } }, routes: [route as never] }).close();
  expect(make).toThrow(problem);
});
