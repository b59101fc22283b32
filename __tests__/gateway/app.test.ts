import { once } from 'node:events';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import type { IpRateLimiter } from 'expressway';
import { WebSocket } from 'ws';
import { standardApp } from '../../lib/gateway/standard-app.ts';
import { ask } from '../support/ask.ts';
import { pause } from '../support/pause.ts';
import { RawClient } from '../support/raw-client.ts';
import { closedPort, listen } from '../support/servers.ts';
import { closeAll, openBackend, openGateway } from './gateways.ts';
import { endAll, Proc } from './proc.ts';
import { until } from './until.ts';

afterEach(async () => {
  jest.restoreAllMocks();
  await closeAll();
  await endAll();
});

test('a slow shutdown reports no problem, although the proxy has no backends any more', async () => {
  const one = await openBackend('one');
  const { gateway, url, logged } = await openGateway([one.url], {}, (host) => {
    const hosted = standardApp(host);
    const close = () => pause('longer than between two looks for problems', 2_500);
    const limiter = Object.assign((...given: Parameters<IpRateLimiter>) => hosted.limiter?.(...given), hosted.limiter);
    return { ...hosted, limiter: Object.defineProperty(limiter, 'close', { value: close }) as IpRateLimiter };
  });
  expect((await ask(url)).status).toBe(200);
  await gateway.close();
  expect(logged.filter(({ problem }) => problem === 'backends_unavailable')).toEqual([]);
});

describe('the example gateway', () => {
  test('forwards requests to its backends in turn, and does not reveal what it is', async () => {
    const [one, two] = [await openBackend('one'), await openBackend('two')];
    const { url } = await openGateway([one.url, two.url]);
    const names: string[] = [];
    for (let i = 0; i < 6; i += 1) names.push((await ask(`${url}/hello?a=%20b`)).json.backend);
    expect(names).toEqual(['one', 'two', 'one', 'two', 'one', 'two']);

    const answer = await ask(`${url}/hello?a=%20b`, { method: 'POST', content: 'four' });
    expect(answer).toMatchObject({ status: 200, json: { method: 'POST', url: '/hello?a=%20b', bytes: 4 } });
    expect(answer.headers).not.toHaveProperty('x-powered-by');
    expect(answer.headers).not.toHaveProperty('etag');
  });

  test.each([
    ['off', 'the host that the client asked'],
    ['on', 'its own name'],
  ])('CHANGE_ORIGIN=%s: a backend gets %s as Host, and its redirects lead to the gateway', async (setting) => {
    const site = await listen(({ headers }, res) => {
      res.writeHead(302, { Location: `http://${headers.host}/there`, 'X-Host': headers.host }).end();
    });
    const { url } = await openGateway([site.url], { CHANGE_ORIGIN: setting });
    const { headers } = await ask(url);
    expect(headers['x-host']).toBe(new URL(setting === 'on' ? site.url : url).host);
    expect(headers.location).toBe(`${url}/there`);
    await site.close();
  });

  test('responds with 429 to the 101st request of a window', async () => {
    const one = await openBackend('one');
    const { url, logged } = await openGateway([one.url]);
    for (let i = 0; i < 100; i += 1) expect((await ask(url)).status).toBe(200);
    const limited = await ask(url);
    expect(limited.status).toBe(429);
    expect(Number(limited.headers['retry-after'])).toBeGreaterThanOrEqual(1);
    expect(logged).toContainEqual(
      expect.objectContaining({ level: 'debug', msg: 'client over its limit', limit: 100 }),
    );
  });

  test('counts by the client address that a trusted proxy sends', async () => {
    const one = await openBackend('one');
    const { url } = await openGateway([one.url], { RATE_LIMIT_MAX: '1', TRUST_PROXY: 'loopback' });
    const statusFor = async (client: string) => (await ask(url, { headers: { 'X-Forwarded-For': client } })).status;
    expect(await statusFor('192.0.2.1')).toBe(200);
    expect(await statusFor('192.0.2.1')).toBe(429);
    expect(await statusFor('192.0.2.2')).toBe(200);
  });

  test('limits with a token bucket, exempts the addresses of RATE_LIMIT_ALLOW, and refuses those of RATE_LIMIT_DENY', async () => {
    const one = await openBackend('one');
    const { url } = await openGateway([one.url], {
      RATE_LIMIT_ALGORITHM: 'token-bucket',
      RATE_LIMIT_MAX: '1',
      RATE_LIMIT_WINDOW_MS: '3600000',
      RATE_LIMIT_BURST: '2',
      RATE_LIMIT_ALLOW: '192.0.2.0/24',
      RATE_LIMIT_DENY: '192.0.2.66',
      TRUST_PROXY: 'loopback',
    });
    const statuses = async (...clients: string[]) => {
      const seen: number[] = [];
      for (const client of clients) seen.push((await ask(url, { headers: { 'X-Forwarded-For': client } })).status);
      return seen;
    };
    expect(await statuses(...Array(4).fill('192.0.2.1'), '192.0.2.66')).toEqual([200, 200, 200, 200, 403]);
    expect(await statuses(...Array(3).fill('198.51.100.1'))).toEqual([200, 200, 429]);
  });

  test('responds, limits and closes while its Redis is down, and logs it', async () => {
    const one = await openBackend('one');
    const redis = await openBackend('a port that nothing listens on');
    await redis.close();
    const env = { REDIS_URL: redis.url.replace('http', 'redis'), RATE_LIMIT_MAX: '2' };
    const { gateway, url, adminUrl, logged } = await openGateway([one.url], env);
    const statuses: number[] = [];
    for (let i = 0; i < 3; i += 1) statuses.push((await ask(url)).status);
    expect(statuses).toEqual([200, 200, 429]);
    await until(() => logged.some(({ msg }) => msg === 'limiter "ip" fell back to local counting'));
    expect((await ask(`${adminUrl}/status`)).json.limiter).toEqual({ mode: 'local' });
    await gateway.close();
  });

  test('loses no GET when a backend is killed', async () => {
    const doomed = new Proc('demo/demo-backend.ts', {}, ['--name', 'doomed', '--port', '0']);
    const doomedUrl = await doomed.said(/listens on (\S+),/);
    const other = await openBackend('other');
    const { url, adminUrl, logged } = await openGateway([doomedUrl, other.url], { RATE_LIMIT_MAX: '1000' });
    const seen = new Set<string>();
    const statuses = new Set<number>();
    const askOften = async (times: number): Promise<void> => {
      for (let i = 0; i < times; i += 1) {
        const { status, json } = await ask(url);
        statuses.add(status);
        seen.add(json?.backend);
      }
    };
    await askOften(4);
    expect([...seen].sort()).toEqual(['doomed', 'other']);

    doomed.kill('SIGKILL');
    await doomed.exit();
    seen.clear();
    await askOften(40);
    expect([...statuses]).toEqual([200]);
    expect([...seen]).toEqual(['other']);

    const { json } = await ask(`${adminUrl}/status`);
    expect(json).toMatchObject({
      circuit: { state: 'closed' },
      backends: [
        { backend: doomedUrl, circuit: 'open', available: false },
        { backend: other.url, circuit: 'closed' },
      ],
    });
    expect(logged).toContainEqual(
      expect.objectContaining({
        level: 'warn',
        msg: 'attempt failed',
        backend: doomedUrl,
        cause: 'connection_refused',
      }),
    );
  });

  test('opens the circuit of a backend that responds with 500, logs it, and closes it after trials', async () => {
    const [good, bad] = [await openBackend('good'), await openBackend('bad')];
    const { url, adminUrl, logged } = await openGateway([good.url, bad.url], { CIRCUIT_OPEN_MS: '600000' });
    const circuits = async () => {
      const { json } = await ask(`${adminUrl}/status`);
      return [json.circuit.state, ...json.backends.map((backend: { circuit: string }) => backend.circuit)];
    };
    await ask(`${bad.url}/fail?on=1`, { method: 'POST' });
    const statuses: number[] = [];
    for (let i = 0; i < 14; i += 1) statuses.push((await ask(url)).status);
    expect(statuses.filter((status) => status === 500)).toHaveLength(5);
    expect(await circuits()).toEqual(['closed', 'closed', 'open']);
    expect(logged).toContainEqual(
      expect.objectContaining({ level: 'warn', msg: 'circuit open', circuit: bad.url, from: 'closed', to: 'open' }),
    );

    await ask(`${bad.url}/fail?on=0`, { method: 'POST' });
    const now = Date.now.bind(Date);
    jest.spyOn(Date, 'now').mockImplementation(() => now() + 700_000);
    await until(async () => {
      expect((await ask(url)).status).toBe(200);
      return (await circuits()).join() === 'closed,closed,closed';
    });
    expect(logged).toContainEqual(expect.objectContaining({ level: 'info', msg: 'circuit closed', circuit: bad.url }));
  });

  test('skips a backend that fails its health checks, and logs it', async () => {
    const [good, bad] = [await openBackend('good'), await openBackend('bad')];
    const env = { HEALTH_CHECK_PATH: '/healthz', HEALTH_CHECK_INTERVAL_MS: '50', HEALTH_CHECK_TIMEOUT_MS: '60000' };
    const { url, adminUrl, logged } = await openGateway([good.url, bad.url], env);
    const health = async () =>
      (await ask(`${adminUrl}/status`)).json.backends.map((backend: { health: string }) => backend.health).join();
    await until(async () => (await health()) === 'healthy,healthy');
    await ask(`${bad.url}/fail?on=1`, { method: 'POST' });
    await until(async () => (await health()) === 'healthy,unhealthy');
    for (let i = 0; i < 6; i += 1) expect((await ask(url)).json.backend).toBe('good');
    expect(logged).toContainEqual(
      expect.objectContaining({
        level: 'warn',
        msg: 'backend unhealthy',
        backend: bad.url,
        error: 'the health check got status 500',
      }),
    );
  });

  test('responds with 503 and Retry-After when no backend is available, and stays ready', async () => {
    const one = await openBackend('one');
    const { url, adminUrl } = await openGateway([one.url]);
    for (let i = 0; i < 5; i += 1) expect((await ask(`${url}/status/500`)).status).toBe(500);
    const refused = await ask(url);
    expect(refused).toMatchObject({ status: 503, json: { status: 503 } });
    expect(Number(refused.headers['retry-after'])).toBeGreaterThanOrEqual(1);
    expect((await ask(`${adminUrl}/readyz`)).status).toBe(200);
  });

  test('picks backends by the policy of LOAD_BALANCING', async () => {
    const [one, two] = [await openBackend('one'), await openBackend('two')];
    const weighted = [`${one.url};weight=3`, two.url];
    const { url } = await openGateway(weighted, { LOAD_BALANCING: 'weighted' });
    const names: string[] = [];
    for (let i = 0; i < 4; i += 1) names.push((await ask(url)).json.backend);
    expect(names).toEqual(['one', 'one', 'two', 'one']);

    const sticky = { LOAD_BALANCING: 'sticky', STICKY_SECRET: 's'.repeat(32) };
    const { url: stickyUrl } = await openGateway([one.url, two.url], sticky);
    const first = await ask(stickyUrl);
    const cookie = String(first.headers['set-cookie']).split(';')[0] as string;
    for (let i = 0; i < 3; i += 1) {
      expect((await ask(stickyUrl, { headers: { Cookie: cookie } })).json.backend).toBe(first.json.backend);
    }
  });

  test('passes event streams and WebSockets', async () => {
    const one = await openBackend('one');
    const { url, adminUrl } = await openGateway([one.url]);
    const stream = await ask(`${url}/stream`);
    expect(stream.text.match(/^data: /gm)).toHaveLength(5);

    const webSocket = new WebSocket(url.replace('http', 'ws'));
    const message = once(webSocket, 'message');
    await once(webSocket, 'open');
    webSocket.send('hello');
    expect(String((await message)[0])).toBe('one: hello');
    expect((await ask(`${adminUrl}/status`)).json.backends[0].inFlight).toBe(1);
    const closed = once(webSocket, 'close');
    webSocket.close();
    await closed;
  });

  test('limits WebSocket handshakes like any other request', async () => {
    const one = await openBackend('one');
    const { url } = await openGateway([one.url], { RATE_LIMIT_MAX: '1' });
    await ask(url);
    const webSocket = new WebSocket(url.replace('http', 'ws'));
    const [, answer] = await once(webSocket, 'unexpected-response');
    expect(answer.statusCode).toBe(429);
  });

  test('drops identity headers, those of IDENTITY_HEADERS included, unless TRUST_PROXY trusts the sender', async () => {
    const one = await openBackend('one');
    const headers = { 'x-tenant': 'a', x_corp_user: 'b', 'x-corp-user': 'c', 'client-ip': 'd', 'x-own': 'e' };
    const passed = async (variables: Record<string, string>) => {
      const { url } = await openGateway([one.url], { IDENTITY_HEADERS: 'x-tenant,x-corp-*', ...variables });
      const { json } = await ask(url, { headers });
      return Object.keys(headers).filter((name) => json.headers[name] !== undefined);
    };
    expect(await passed({})).toEqual(['x-own']);
    expect(await passed({ TRUST_PROXY: 'loopback' })).toEqual(['x-tenant', 'x-corp-user', 'client-ip', 'x-own']);
  });

  test('normalises paths according to MERGE_SLASHES and AMBIGUOUS_PATHS', async () => {
    const one = await openBackend('one');
    const urlsAt = async (url: string) => {
      const answers = [await ask(`${url}/%61//b`), await ask(`${url}/@acme%2fwidget`)];
      return answers.map(({ status, json }) => json.url ?? status);
    };
    const { url } = await openGateway([one.url]);
    expect(await urlsAt(url)).toEqual(['/a/b', '/@acme%2Fwidget']);
    const { url: strict } = await openGateway([one.url], { MERGE_SLASHES: 'off', AMBIGUOUS_PATHS: 'strict' });
    expect(await urlsAt(strict)).toEqual(['/a//b', 400]);
  });

  test('refuses ambiguous requests before it counts them, bodies that are too large, and too many connections', async () => {
    const one = await openBackend('one');
    const { url } = await openGateway([one.url], { MAX_BODY_BYTES: '4', RATE_LIMIT_MAX: '2' });
    for (let i = 0; i < 3; i += 1) {
      expect(await ask(`${url}/a%5cb`)).toMatchObject({ status: 400, json: { cause: 'bad_request' } });
    }
    expect(await ask(url, { method: 'POST', content: 'five!' })).toMatchObject({
      status: 413,
      json: { detail: 'Longest allowed: 4 bytes (maxBodyBytes, MAX_BODY_BYTES).' },
    });
    const { url: short } = await openGateway([one.url], { MAX_TARGET_BYTES: '9' });
    expect(await ask(`${short}/123456789`)).toMatchObject({
      status: 414,
      json: { detail: 'Longest allowed: 9 bytes (maxTargetBytes, MAX_TARGET_BYTES).' },
    });
    expect(await ask(url, { method: 'POST', content: 'four' })).toMatchObject({ status: 200 });

    const few = { MAX_CONNECTIONS_PER_ADDRESS: '1' };
    const { url: capped } = await openGateway([one.url], few);
    const { url: trusting } = await openGateway([one.url], { ...few, TRUST_PROXY: 'loopback' });
    for (const [address, outcome] of [
      [capped, 'ECONNRESET'],
      [trusting, 200],
    ] as const) {
      const webSocket = new WebSocket(address.replace('http', 'ws'));
      await once(webSocket, 'open');
      const second = await ask(address).then(
        ({ status }) => status,
        ({ code }) => code,
      );
      expect(second).toBe(outcome);
      const closed = once(webSocket, 'close');
      webSocket.close();
      await closed;
    }
  });

  test('refuses requests that take longer than REQUEST_TIMEOUT_MS to arrive', async () => {
    const one = await openBackend('one');
    const { url } = await openGateway([one.url], { REQUEST_TIMEOUT_MS: '50' });
    const client = await RawClient.connect(Number(new URL(url).port));
    client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nfour');
    const status = client.response().then((response) => response.status);
    // By default, a client may be silent for 20 s.
    expect(await Promise.race([status, pause('less than that', 10_000)])).toBe(408);
    client.close();
  });

  test('shows its state on the admin listener only', async () => {
    const one = await openBackend('one');
    const { url, adminUrl } = await openGateway([one.url]);
    const { headline, problems, ...state } = (await ask(`${adminUrl}/status`)).json;
    // Of a busy machine, and of nothing else.
    const busy = (problems as { problem: string }[]).filter(({ problem }) => problem === 'event_loop_blocked');
    expect(problems).toEqual(busy);
    if (busy.length === 0) expect(headline).toEqual({ level: 'ok', title: 'Up' });
    expect(state).toEqual({
      phase: 'running',
      uptimeMs: expect.any(Number),
      limiter: { mode: 'memory' },
      circuit: { state: 'closed', retryAfterMs: 0 },
      backends: [
        {
          service: 'default',
          backend: one.url,
          circuit: 'closed',
          health: 'unknown',
          weight: 1,
          effectiveWeight: 1,
          available: true,
          inFlight: 0,
          retryAfterMs: 0,
        },
      ],
    });
    expect((await ask(`${url}/status`)).json.backend).toBe('one');
  });

  test('an empty ADMIN_PORT turns the admin listener off', async () => {
    const one = await openBackend('one');
    const { gateway, url } = await openGateway([one.url], { ADMIN_PORT: '' });
    expect(gateway.adminUrl).toBeUndefined();
    expect((await ask(url)).status).toBe(200);
  });

  test('without the admin listener, the log still shows problems of backends and routes', async () => {
    const port = await closedPort();
    const { url, logged } = await openGateway([`http://127.0.0.1:${port}`], {
      ADMIN_PORT: '',
      CIRCUIT_MINIMUM_REQUESTS: '2',
    });
    for (let i = 0; i < 4; i += 1) await ask(url);
    await until(() => logged.some(({ problem }) => problem === 'backends_unavailable'));
  });

  test('close() returns the same promise when it is called again', async () => {
    const one = await openBackend('one');
    const { gateway, url, adminUrl } = await openGateway([one.url]);
    await ask(url);
    await Promise.all([gateway.close(), gateway.close()]);
    await expect(ask(url)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await expect(ask(`${adminUrl}/livez`)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });
});
