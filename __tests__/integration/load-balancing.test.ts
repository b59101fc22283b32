import { afterEach, describe, expect, test } from '@jest/globals';
import type { BackendView, LoadBalancing, SelectionPolicy } from 'expressway';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { pause } from '../support/pause.ts';
import { answer, answerOk, RecorderBackend } from '../support/recorder-backend.ts';
import { closedPort, eventually } from '../support/servers.ts';
import { expectWarnings } from '../support/warnings.ts';

expectWarnings('WARN_EXPRESSWAY_TRUST_PROXY');

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const SECRET = 'a secret that has at least 32 characters';

const gateway = async (...args: Parameters<typeof proxyGateway>) => cleanup.add(await proxyGateway(...args));

/** So many backends, each of which answers with its own name: a, b, c and so on. */
async function named(count: number): Promise<RecorderBackend[]> {
  const backends: RecorderBackend[] = [];
  for (let index = 0; index < count; index += 1) {
    const name = String.fromCharCode(97 + index);
    const script = answer(`HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n${name}`);
    backends.push(cleanup.add(await RecorderBackend.start(script)));
  }
  return backends;
}

const urls = (backends: readonly RecorderBackend[]) => backends.map(({ url }) => url);

async function ask(url: string, headers: Record<string, string> = {}) {
  const response = await fetch(url, { headers });
  return { status: response.status, name: await response.text(), cookies: response.headers.getSetCookie() };
}

/** The names of those who answered so many requests, one after another. */
async function word(url: string, requests: number, headers?: Record<string, string>): Promise<string> {
  let names = '';
  for (let request = 0; request < requests; request += 1) names += (await ask(url, headers)).name;
  return names;
}

const count = (names: string, name: string) => names.split(name).length - 1;

describe('weighted', () => {
  test('interleaves 5, 1, 1 as nginx does, and follows new weights', async () => {
    const [a, b, c] = urls(await named(3)) as [string, string, string];
    const weighted = (...weights: number[]) =>
      [a, b, c].map((url, index) => ({ url, weight: weights[index] as number }));
    const { url, proxy } = await gateway({ backends: weighted(5, 1, 1), loadBalancing: 'weighted' });
    expect(await word(url, 14)).toBe('aabacaaaabacaa');
    proxy.setBackends(weighted(0, 1, 2));
    const names = await word(url, 30);
    expect([count(names, 'a'), count(names, 'b'), count(names, 'c')]).toEqual([0, 10, 20]);
  });
});

describe('least requests', () => {
  test('a backend that hangs gets no more than its first request', async () => {
    const [slow, quick] = (await named(2)) as [RecorderBackend, RecorderBackend];
    slow.script = () => {};
    const { url, proxy } = await gateway({ backends: urls([slow, quick]), loadBalancing: 'least-requests' });
    const waiting = fetch(url).catch(() => {});
    await eventually('the first request hangs', () => slow.requests.length === 1);
    expect(await word(url, 20)).toBe('b'.repeat(20));
    expect(slow.requests).toHaveLength(1);
    expect(proxy.status().map(({ inFlight }) => inFlight)).toEqual([1, 0]);
    for (const connection of slow.connections) connection.destroy();
    await waiting;
  });
});

describe('latency', () => {
  test('a slower backend gets almost no requests', async () => {
    const [slow, quick] = (await named(2)) as [RecorderBackend, RecorderBackend];
    const { script } = slow;
    slow.script = (...args) => void setTimeout(() => script(...args), 500);
    const { url } = await gateway({ backends: urls([slow, quick]), loadBalancing: 'latency' });
    expect(count(await word(url, 60), 'a')).toBeLessThanOrEqual(2);
  });

  test('spreads concurrent requests over many backends, and only those of the slow one wait', async () => {
    const backends = await named(24);
    const [slow] = backends as [RecorderBackend];
    const held: (() => void)[] = [];
    const { script } = slow;
    slow.script = (...args) => void held.push(() => script(...args));
    const { url } = await gateway({
      backends: urls(backends),
      loadBalancing: 'latency',
      // Those of the slow one wait for as long as a busy machine takes for all others.
      responseTimeoutMs: 600_000,
    });
    let ended = 0;
    const clients = Array.from({ length: 48 }, async () => {
      await word(url, 20);
      ended += 1;
    });
    const all = Promise.all(clients);
    await eventually('all others are served', () => ended >= clients.length - held.length, 120_000);
    // While none has answered, those who come at once are spread over all; after that nobody goes there: of 960, 40 would.
    expect(held.length).toBeLessThanOrEqual(5);
    const quick = backends.slice(1).map(({ requests }) => requests.length);
    const mean = quick.reduce((sum, one) => sum + one) / quick.length;
    // Who is one of two drawn at random comes up twice as often as the mean, and may be the better one each time.
    expect(Math.max(...quick)).toBeLessThan(3 * mean);
    slow.script = script;
    for (const answerHeld of held) answerHeld();
    await all;
  });

  /** Picks the only backend there is, and remembers its latency as it was then. */
  class Observer implements SelectionPolicy {
    readonly observesLatency = true;
    latencyMs = 0;

    select<B extends BackendView>(backends: readonly B[]): B | undefined {
      this.latencyMs = backends[0]?.latencyMs ?? 0;
      return backends[0];
    }
  }

  /** How long somebody else than the backend takes; the bound is relative, so that a busy machine does not break it. */
  const HOLD_MS = 200;

  test('does not count the time of the response content', async () => {
    const [only] = (await named(1)) as [RecorderBackend];
    const observer = new Observer();
    const { url } = await gateway({ backends: [only.url], loadBalancing: observer });
    only.script = (socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no');
      setTimeout(() => socket.write('k'), HOLD_MS);
    };
    const begun = performance.now();
    expect(await word(url, 1)).toBe('ok');
    const wholeMs = performance.now() - begun;
    only.script = answerOk;
    await ask(url);
    expect(observer.latencyMs).toBeGreaterThan(0);
    expect(observer.latencyMs).toBeLessThan(wholeMs - HOLD_MS / 2);
  });

  test('does not count the time that a client takes to send its content', async () => {
    const [only] = (await named(1)) as [RecorderBackend];
    const observer = new Observer();
    const { url } = await gateway({ backends: [only.url], loadBalancing: observer });
    // Answers only when all is there, as a real one would.
    only.script = (socket) => {
      const isWhole = () => only.received.some((bytes) => bytes.includes('0\r\n\r\n'));
      const respond = () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok');
      void eventually('the content is there', isWhole).then(respond);
    };
    const body = new ReadableStream({
      async start(controller) {
        controller.enqueue(new TextEncoder().encode('begin'));
        await pause('the client takes its time', HOLD_MS);
        controller.close();
      },
    });
    const begun = performance.now();
    expect((await fetch(url, { method: 'POST', body, duplex: 'half' } as RequestInit)).status).toBe(200);
    const wholeMs = performance.now() - begun;
    only.script = answerOk;
    await ask(url);
    expect(observer.latencyMs).toBeGreaterThan(0);
    expect(observer.latencyMs).toBeLessThan(wholeMs - HOLD_MS / 2);
  });
});

describe('hash', () => {
  test('the same client, tenant or user keeps its backend', async () => {
    const backends = urls(await named(3));
    const cases: [LoadBalancing, (value: string) => Record<string, string>][] = [
      ['hash', (value) => ({ 'x-forwarded-for': value })],
      [{ policy: 'hash', by: { header: 'X-Tenant' } }, (value) => ({ 'x-tenant': value })],
      [{ policy: 'hash', by: { cookie: 'user' } }, (value) => ({ cookie: `a=b; user=${value}` })],
    ];
    for (const [loadBalancing, fields] of cases) {
      const { url } = await gateway({ backends, loadBalancing }, (app) => app.set('trust proxy', 'loopback'));
      const seen = new Set<string>();
      for (let client = 0; client < 20; client += 1) {
        const names = await word(url, 3, fields(`192.0.2.${client}`));
        expect(new Set(names).size).toBe(1);
        seen.add(names[0] as string);
      }
      expect(seen.size).toBe(3);
    }
  });

  test('a query parameter selects the backend, and requests without it rotate', async () => {
    const loadBalancing: LoadBalancing = { policy: 'hash', by: { query: 'room' } };
    const { url } = await gateway({ backends: urls(await named(3)), loadBalancing });
    const rooms = await Promise.all(
      Array.from({ length: 20 }, (_, room) => word(`${url}/chat?x=1&room=%20${room}&room=other`, 3)),
    );
    for (const names of rooms) expect(new Set(names).size).toBe(1);
    expect(new Set(rooms.join('')).size).toBe(3);
    for (const target of ['/', '/?', '/?rooms=1', '/?room=']) {
      expect([...(await word(`${url}${target}`, 3))].sort().join('')).toBe('abc');
    }
  });

  test('concurrent requests of one client go to one backend, as socket.io polling needs', async () => {
    const { url } = await gateway({ backends: urls(await named(3)), loadBalancing: 'hash' });
    const names = await Promise.all(Array.from({ length: 30 }, () => word(url, 1)));
    expect(new Set(names).size).toBe(1);
  });

  test('X-Forwarded-For of an untrusted client does not select the backend', async () => {
    const { url } = await gateway({ backends: urls(await named(3)), loadBalancing: 'hash' });
    const names = new Set<string>();
    for (let client = 0; client < 20; client += 1)
      names.add(await word(url, 1, { 'x-forwarded-for': `192.0.2.${client}` }));
    expect(names.size).toBe(1);
  });

  test('the keys of a removed backend move, all others stay', async () => {
    const backends = await named(4);
    const loadBalancing: LoadBalancing = { policy: 'hash', by: { header: 'x-tenant' } };
    const { url, proxy } = await gateway({ backends: urls(backends), loadBalancing });
    const homes = async () => {
      const found: string[] = [];
      for (let tenant = 0; tenant < 40; tenant += 1) found.push(await word(url, 1, { 'x-tenant': `t${tenant}` }));
      return found;
    };
    const before = await homes();
    proxy.setBackends(urls(backends.slice(1)));
    const during = await homes();
    expect(during).not.toContain('a');
    expect(during.map((name, index) => (before[index] === 'a' ? 'a' : name))).toEqual(before);
    proxy.setBackends(urls(backends));
    expect(await homes()).toEqual(before);
  });
});

describe('sticky', () => {
  const sticky = { policy: 'sticky', secret: SECRET } as const;
  const pairOf = (cookies: readonly string[]) =>
    cookies.find((line) => line.startsWith('expressway-sticky='))?.split(';')[0] ?? '';

  test('a client keeps its backend, and the cookies of app and backend are kept', async () => {
    const backends = await named(3);
    for (const backend of backends) {
      const { script } = backend;
      backend.script = (socket, request, index) => {
        if (request.target !== '/login') script(socket, request, index);
        else socket.write('HTTP/1.1 200 OK\r\nSet-Cookie: s=1\r\nSet-Cookie: t=2\r\nContent-Length: 1\r\n\r\nx');
      };
    }
    const { url } = await gateway({ backends: urls(backends), loadBalancing: sticky }, (app) => {
      app.use((_req, res, next) => {
        res.cookie('app', '3');
        next();
      });
    });
    const login = await ask(`${url}/login`);
    expect(login.cookies).toEqual([
      'app=3; Path=/',
      expect.stringMatching(/^expressway-sticky=[^;]+; Path=\/; HttpOnly; SameSite=Lax$/),
      's=1',
      't=2',
    ]);
    const cookie = pairOf(login.cookies);
    expect(await word(url, 6, { cookie })).toBe('aaaaaa');
    expect((await ask(url, { cookie })).cookies).toEqual(['app=3; Path=/']);
    expect((await ask(url, { cookie: `${cookie}x` })).cookies).toHaveLength(2);
  });

  test('clients of a backend that refuses connections get a response and one new cookie of another', async () => {
    const [alive] = (await named(1)) as [RecorderBackend];
    const dead = `http://127.0.0.1:${await closedPort()}`;
    const { url } = await gateway({ backends: [dead, alive.url], loadBalancing: sticky });
    const moved = await ask(url);
    expect(moved).toMatchObject({ status: 200, name: 'a', cookies: [expect.stringMatching(/^expressway-sticky=/)] });
    expect((await ask(url, { cookie: pairOf(moved.cookies) })).cookies).toEqual([]);
  });

  test('the cookie is Secure for a client that reached a trusted proxy by TLS', async () => {
    const { url } = await gateway({ backends: urls(await named(1)), loadBalancing: sticky }, (app) =>
      app.set('trust proxy', 'loopback'),
    );
    for (const scheme of ['https', 'wss'])
      expect((await ask(url, { 'x-forwarded-proto': scheme })).cookies[0]).toMatch(/; Secure$/);
    expect((await ask(url)).cookies[0]).not.toMatch(/Secure/);
  });
});

describe('every policy', () => {
  const policies: [string, LoadBalancing][] = [
    ['round-robin', 'round-robin'],
    ['weighted', 'weighted'],
    ['least-requests', 'least-requests'],
    ['latency', 'latency'],
    ['hash', { policy: 'hash', by: { header: 'x-tenant' } }],
    ['sticky', { policy: 'sticky', secret: SECRET, fallback: 'latency' }],
    ['custom', { select: (all, _exchange, tried) => all.find((one) => one.isAvailable() && !tried.includes(one)) }],
  ];

  test.each(policies)(
    'F03: %s: after a refused connection another backend serves the request',
    async (_name, loadBalancing) => {
      const [alive] = (await named(1)) as [RecorderBackend];
      const dead = `http://127.0.0.1:${await closedPort()}`;
      const { url, proxy } = await gateway({ backends: [dead, alive.url], loadBalancing });
      for (let tenant = 0; tenant < 20; tenant += 1) {
        expect(await ask(url, { 'x-tenant': `t${tenant}` })).toMatchObject({ status: 200, name: 'a' });
      }
      expect(proxy.status().map(({ inFlight }) => inFlight)).toEqual([0, 0]);
    },
  );
});

describe('slow start', () => {
  test('an added backend gets a tenth of its share at first; the only backend gets everything', async () => {
    const [a, b] = urls(await named(2)) as [string, string];
    const { url, proxy } = await gateway({ backends: [a], slowStartMs: 600_000 });
    expect(await word(url, 3)).toBe('aaa');
    proxy.setBackends([a, b]);
    expect(count(await word(url, 44), 'b')).toBe(4);
    proxy.setBackends([b]);
    expect(await word(url, 3)).toBe('bbb');
  });

  test('a backend whose circuit closed again starts slowly', async () => {
    const [a, b] = (await named(2)) as [RecorderBackend, RecorderBackend];
    const { script } = b;
    b.script = answer('HTTP/1.1 500 Oops\r\nContent-Length: 1\r\n\r\nx');
    const circuit = { minimumRequests: 1, openMs: 200, halfOpenRequests: 1 };
    const { url, proxy } = await gateway({ backends: urls([a, b]), circuit, slowStartMs: 600_000 });
    await word(url, 4);
    expect(proxy.status()[1]?.circuit).toBe('open');
    b.script = script;
    await eventually('the circuit closes', async () => {
      await word(url, 1);
      return proxy.status()[1]?.circuit === 'closed';
    });
    // One more or less: it may have saved up a part of a turn since.
    expect(Math.abs(count(await word(url, 44), 'b') - 4)).toBeLessThanOrEqual(1);
  });
});

describe('a custom policy', () => {
  test('gets the exchange and the metrics of the backends', async () => {
    const [a, b] = (await named(2)) as [RecorderBackend, RecorderBackend];
    const seen: unknown[] = [];
    const policy: SelectionPolicy = {
      observesLatency: true,
      select(backends, exchange) {
        seen.push(
          backends.map(({ origin, weight, effectiveWeight, inFlight, latencyMs }) => ({
            origin,
            weight,
            effectiveWeight,
            inFlight,
            measured: latencyMs > 0,
          })),
        );
        return backends[Number(exchange.req.headers['x-index'])];
      },
    };
    const { url } = await gateway({ backends: [{ url: a.url, weight: 3 }, b.url], loadBalancing: policy });
    expect(await word(url, 2, { 'x-index': '1' })).toBe('bb');
    expect(await word(url, 1, { 'x-index': '0' })).toBe('a');
    const first = { origin: a.url, weight: 3, effectiveWeight: 3, inFlight: 0, measured: false };
    expect(seen.at(-1)).toEqual([first, { origin: b.url, weight: 1, effectiveWeight: 1, inFlight: 0, measured: true }]);
  });
});
