import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, test } from '@jest/globals';
import { certificate } from '../support/certificate.ts';
import { DnsServer } from '../support/dns-server.ts';
import { Cleanup } from '../support/gateway.ts';
import { Http2Backend } from '../support/http2-backend.ts';
import { describeWithRedis } from '../support/redis.ts';
import { closedPort, listen } from '../support/servers.ts';
import { CliHost } from './cli-host.ts';
import { CliProcess, cli } from './cli-process.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());
const folder = mkdtempSync(join(tmpdir(), 'expressway-doctor-'));
const host = new CliHost();
afterAll(async () => {
  await host.close();
  rmSync(folder, { recursive: true, force: true });
});

// The times are for a machine that is too busy to respond soon: a test whose backend must miss one has its own.
const PATIENT = { CONNECT_TIMEOUT_MS: '60000', HEALTH_CHECK_TIMEOUT_MS: '60000' };
const NOWHERE = { HOST: '127.0.0.1', PORT: '0', ADMIN_PORT: '', ...PATIENT };

interface Found {
  readonly check: string;
  readonly level: string;
  readonly what: string;
  readonly fix?: string;
}

/** What a check says, as `level what`. */
async function examine(check: string, env: Readonly<Record<string, string>>, args: readonly string[] = []) {
  const { code, out, err } = await host.run(['doctor', '--json', ...args], { ...NOWHERE, ...env });
  expect(err).toBe('');
  const report = JSON.parse(out) as { ok: boolean; counts: Record<string, number>; findings: readonly Found[] };
  expect(code).toBe(report.ok ? 0 : 1);
  const found = report.findings.filter((one) => one.check === check);
  return { code, report, found, said: found.map(({ level, what }) => `${level} ${what}`) };
}

const answering = async (status: number) =>
  cleanup.add(await listen((_req, res) => void res.writeHead(status).end('hello')));

describe('expressway doctor', () => {
  test('exits with 0 for a valid configuration, without colours where there is no terminal', async () => {
    const { url } = await answering(200);
    const { code, out, err } = await cli(['doctor'], { ...NOWHERE, BACKENDS: url, MAX_CONNECTIONS: '10' });
    expect([code, err]).toEqual([0, '']);
    expect(out).toMatch(/configuration\n {2}ok {4}all variables are valid\n/);
    expect(out).toMatch(new RegExp(`backends\n {2}ok {4}${url}: connected in [\\d.]+ ms\n`));
    expect(out).toMatch(/\nAll is well\.\n$/);
    expect(out).not.toContain('\x1b');
  });

  test('prints notes on settings that some applications need to change', async () => {
    const { url } = await answering(200);
    const { code, said } = await examine('applications', { BACKENDS: url, AMBIGUOUS_PATHS: 'strict' });
    expect(code).toBe(0);
    expect(said).toContainEqual(expect.stringMatching(/^note AMBIGUOUS_PATHS=strict: npm registries/));
    expect(said.join()).not.toContain('LOAD_BALANCING');
  });

  test('warns of misspelt variables and of lines without effect in the file, and ignores other names', async () => {
    const path = join(folder, 'misspelt.env');
    const { url } = await answering(200);
    writeFileSync(path, `BACKENDS=${url}\nRATELIMIT_MAX=3\nNODE_OPTIONS=\nMY_OWN=1\nPORT: 80\n`);
    const { code, said, found } = await examine('configuration', {}, ['--env-file', path]);
    expect(code).toBe(0);
    expect(said).toEqual([
      'ok all variables are valid',
      'warn line 5 of the file is no NAME=value, and has no effect',
      'warn RATELIMIT_MAX is not a variable of the gateway',
    ]);
    expect(found[2]?.fix).toBe('If RATE_LIMIT_MAX is meant, write that');
  });

  test('names the default backends when BACKENDS is not set', async () => {
    const { said, found } = await examine('configuration', {});
    expect(said).toEqual([
      'ok all variables are valid',
      'warn BACKENDS is not set: requests would go to http://localhost:8081 and http://localhost:8082',
    ]);
    expect(found[1]?.fix).toBe('Name your backends in BACKENDS or BACKENDS_FILE');
  });

  test('reports each invalid variable as a failure, also from a file', async () => {
    const path = join(folder, 'bad.env');
    writeFileSync(path, 'BACKENDS=ftp://x\nTRUST_PROXY=true\n');
    const { code, said, report } = await examine('configuration', {}, ['--env-file', path]);
    expect(code).toBe(1);
    expect(said).toEqual([
      expect.stringMatching(/^fail BACKENDS: .*must start with http:\/\/ or https:\/\//),
      expect.stringMatching(/^fail TRUST_PROXY: .*must not be true/),
    ]);
    // There is nothing else to look at.
    expect(report.findings).toHaveLength(2);
  });

  test('compares MAX_CONNECTIONS with the limit of open files', async () => {
    const { said, found } = await examine('open files', { MAX_CONNECTIONS: '900000000' });
    expect(said).toEqual([expect.stringMatching(/^warn only \d+ open files, and 900000000 connections/)]);
    expect(found[0]?.fix).toMatch(/ulimit -n 1800000290.*or set MAX_CONNECTIONS=\d+$/);
    expect((await examine('open files', { MAX_CONNECTIONS: '1' })).said).toEqual([expect.stringMatching(/^ok /)]);
    expect((await examine('open files', { MAX_CONNECTIONS: '0' })).said).toEqual([expect.stringMatching(/^note /)]);
  });

  test('counts what the gateway counts for open files: workers, backends and the listener of HTTP_REDIRECT_PORT', async () => {
    const file = join(folder, 'two-services.json');
    const service = { backends: ['http://127.0.0.1:1', 'http://127.0.0.1:2'] };
    const routes = [{ path: '/', service: 'one' }];
    writeFileSync(file, JSON.stringify({ services: { one: service, two: service }, routes }));
    const [cert, key] = [join(folder, 'counted-cert.pem'), join(folder, 'counted-key.pem')];
    writeFileSync(cert, certificate.cert);
    writeFileSync(key, certificate.key);
    const { found } = await examine('open files', {
      MAX_CONNECTIONS: '900000000',
      WORKERS: '2',
      GATEWAY_CONFIG: file,
      TLS_CERT: cert,
      TLS_KEY: key,
      HTTP_REDIRECT_PORT: '0',
      CONNECT_TIMEOUT_MS: '',
      HEALTH_CHECK_TIMEOUT_MS: '',
    });
    expect(found[0]?.fix).toContain(`ulimit -n ${900_000_000 + 288 + 4 + 128}`);
  });

  describe('expressway doctor and backends', () => {
    test('connects to each backend, and requests the health path only', async () => {
      const asked: string[] = [];
      const well = cleanup.add(
        await listen((req, res) => {
          asked.push(`${req.method} ${req.url}`);
          res.end();
        }),
      );
      const silent = await examine('backends', { BACKENDS: well.url });
      expect(silent.said).toEqual([expect.stringMatching(/^ok .*: connected in [\d.]+ ms$/)]);
      expect(asked).toEqual([]);
      const { said } = await examine('backends', {
        BACKENDS: well.url,
        HEALTH_CHECK_PATH: '/healthz',
      });
      expect(said).toEqual([expect.stringMatching(/^ok .*, \/healthz responded with 200 in [\d.]+ ms$/)]);
      expect(asked).toEqual(['GET /healthz']);
    });

    test('only connects to backends over HTTP/2', async () => {
      const { url } = await answering(200);
      const { said } = await examine('backends', {
        BACKENDS: url,
        BACKEND_PROTOCOL: 'http2',
        HEALTH_CHECK_PATH: '/grpc.health.v1.Health/Check',
      });
      expect(said).toEqual([expect.stringMatching(/^ok .*: connected in [\d.]+ ms$/)]);
    });

    test('reports backends that are down, unhealthy or out of rotation', async () => {
      const down = `http://127.0.0.1:${await closedPort()}`;
      const ill = (await answering(503)).url;
      const idle = (await answering(204)).url;
      const { code, said, found } = await examine('backends', {
        BACKENDS: `${down},${ill},${idle};weight=0`,
        HEALTH_CHECK_PATH: '/',
      });
      expect(code).toBe(1);
      expect(said).toEqual([
        expect.stringMatching(new RegExp(`^fail ${down}: no connection: .*ECONNREFUSED`)),
        expect.stringMatching(new RegExp(`^fail ${ill}: .*but / responded with 503: health checks would take it out`)),
        expect.stringMatching(new RegExp(`^ok ${idle}: `)),
        expect.stringMatching(new RegExp(`^warn ${idle}: its weight is 0`)),
      ]);
      expect(found.filter(({ level }) => level === 'fail').every(({ fix }) => fix !== undefined)).toBe(true);
    });

    test('reports a backend that does not respond within the time of health checks', async () => {
      const mute = cleanup.add(await listen(() => {})).url;
      const { code, said, found } = await examine('backends', {
        BACKENDS: mute,
        HEALTH_CHECK_PATH: '/',
        HEALTH_CHECK_TIMEOUT_MS: '300',
      });
      expect(code).toBe(1);
      expect(said).toEqual([`fail ${mute}: no response to / within 300 ms (HEALTH_CHECK_TIMEOUT_MS)`]);
      expect(found[0]?.fix).toBeDefined();
    });

    test('names BACKEND_PROTOCOL for a backend that speaks HTTP/2 only', async () => {
      const { url } = cleanup.add(await Http2Backend.start(() => {}));
      const { found } = await examine('backends', { BACKENDS: url, HEALTH_CHECK_PATH: '/' });
      expect(found[0]?.fix).toContain('BACKEND_PROTOCOL=http2');
    });

    test('checks the certificate of an https backend as the gateway would', async () => {
      const { cert, key } = certificate;
      const secure = cleanup.add(
        await listen(
          () => {},
          createServer({ cert, key }, (_req, res) => void res.end()),
        ),
      );
      const BACKENDS = `https://127.0.0.1:${secure.port}`;
      const refused = await examine('backends', { BACKENDS });
      expect(refused.said).toEqual([expect.stringMatching(/^fail .*no connection: .*self.signed/)]);
      expect(refused.found[0]?.fix).toContain('BACKEND_CA');
      const ca = join(folder, 'ca.pem');
      writeFileSync(ca, cert);
      const trusted = await examine('backends', {
        BACKENDS,
        BACKEND_CA: ca,
        HEALTH_CHECK_PATH: '/',
      });
      expect(trusted.said).toEqual([expect.stringMatching(/^ok .*, \/ responded with 200/)]);
      const missing = await examine('backends', {
        BACKENDS,
        BACKEND_CA: join(folder, 'none.pem'),
      });
      expect(missing.said).toEqual([expect.stringMatching(/^fail BACKEND_CA .* cannot be read: no such file/)]);
      const plain = await answering(200);
      const mixed = await examine('backends', { BACKENDS: plain.url.replace('http', 'https') });
      expect(mixed.found[0]?.fix).toContain('http and https may be mixed up');
    });

    test.each(['TLSv1.2', 'TLSv1.3'] as const)(
      'notices over %s that a backend refuses the gateway',
      async (version) => {
        const { cert, key } = certificate;
        const options = { cert, key, requestCert: true, ca: cert, minVersion: version, maxVersion: version };
        const server = cleanup.add(await listen(() => {}, createServer(options)));
        const files = { BACKEND_CERT: join(folder, 'backend-cert.pem'), BACKEND_KEY: join(folder, 'backend-key.pem') };
        writeFileSync(files.BACKEND_CERT, cert);
        writeFileSync(files.BACKEND_KEY, key);
        const env = { BACKENDS: `https://127.0.0.1:${server.port}`, BACKEND_CA: files.BACKEND_CERT };
        const refused = await examine('backends', env);
        expect(refused.said).toEqual([expect.stringMatching(/^fail .*no connection/)]);
        expect(refused.found[0]?.fix).toContain('BACKEND_CERT');
        expect((await examine('backends', { ...env, ...files })).said).toEqual([
          expect.stringMatching(/^ok .*connected/),
        ]);
      },
    );

    test('reports backends that are the gateway itself, and unknown names', async () => {
      const port = String(await closedPort());
      const own = await examine('backends', {
        PORT: port,
        HOST: '0.0.0.0',
        BACKENDS: `http://localhost:${port}`,
      });
      expect(own.said).toEqual([`fail http://localhost:${port} is the gateway itself (PORT=${port})`]);
      const DNS_SERVERS = `127.0.0.1:${await closedPort()}`;
      const named = await examine('backends', { BACKENDS: 'dns://api.test:8080', DNS_SERVERS });
      expect(named.said).toEqual([expect.stringMatching(/^fail dns:\/\/api\.test:8080: /)]);
      expect(named.found[0]?.fix).toContain(DNS_SERVERS);
    });

    test('sends the DNS name as Host, like the health checks', async () => {
      const dns = cleanup.add(await DnsServer.start());
      dns.records.set('api.test', { a: ['127.0.0.1'] });
      const byName = (req: IncomingMessage, res: ServerResponse) =>
        res.writeHead(req.headers.host?.startsWith('api.test:') ? 200 : 404).end();
      const { port } = cleanup.add(await listen(byName));
      const { said } = await examine('backends', {
        BACKENDS: `dns://api.test:${port}`,
        DNS_SERVERS: dns.address,
        HEALTH_CHECK_PATH: '/healthz',
      });
      expect(said).toEqual([expect.stringMatching(/^ok .*, \/healthz responded with 200 in /)]);
    });

    test('of GATEWAY_CONFIG, as the options of their service say', async () => {
      const { cert, key } = certificate;
      const dns = cleanup.add(await DnsServer.start());
      dns.records.set('api.test', { a: ['127.0.0.1'] });
      const answers = (req: IncomingMessage, res: ServerResponse) =>
        res.writeHead(req.url === '/health' && req.headers.authorization === 'Basic eDp5' ? 204 : 404).end();
      const secure = cleanup.add(await listen(() => {}, createServer({ cert, key }, answers)));
      const plain = cleanup.add(await listen(answers));
      const http2 = cleanup.add(await Http2Backend.start((stream) => stream.close()));
      const file = join(folder, 'gateway.json');
      const connectTimeoutMs = 60_000;
      const health = { path: '/health', timeoutMs: 60_000 };
      const services = {
        secure: {
          backends: [`https://127.0.0.1:${secure.port}`],
          tls: { ca: cert },
          healthCheck: { ...health, headers: { Authorization: 'Basic eDp5' } },
          connectTimeoutMs,
        },
        untrusting: { backends: [`https://127.0.0.1:${secure.port}`], connectTimeoutMs },
        named: {
          backends: [`dns://api.test:${plain.port}`],
          dns: { servers: [dns.address] },
          healthCheck: health,
          connectTimeoutMs,
        },
        grpc: { backends: [http2.url], protocol: 'http2', healthCheck: health, connectTimeoutMs },
      };
      const routes = Object.keys(services).map((service) => ({ path: `/${service}`, service }));
      writeFileSync(file, JSON.stringify({ services, routes }));
      const { found, said } = await examine('backends', {
        GATEWAY_CONFIG: file,
        CONNECT_TIMEOUT_MS: '',
        HEALTH_CHECK_TIMEOUT_MS: '',
      });
      expect(said).toEqual([
        expect.stringMatching(/^ok service secure, https:.*, \/health responded with 204/),
        expect.stringMatching(/^fail service untrusting, https:.*no connection: .*self.signed/),
        expect.stringMatching(/^fail service named, http:.*, but \/health responded with 404/),
        expect.stringMatching(/^ok service grpc, http:.*: connected in [\d.]+ ms$/),
      ]);
      expect(found[1]?.fix).toContain('tls.ca');
      expect(found[2]?.fix).toContain('healthCheck.path');
    });

    test('reads BACKENDS_FILE', async () => {
      const { url } = await answering(200);
      const file = join(folder, 'backends.json');
      writeFileSync(file, JSON.stringify([{ url, weight: 2 }]));
      expect((await examine('backends', { BACKENDS_FILE: file })).said).toEqual([expect.stringContaining(`ok ${url}`)]);
      writeFileSync(file, '[');
      const bad = await examine('configuration', { BACKENDS_FILE: file });
      expect(bad.said).toEqual([expect.stringMatching(/^fail BACKENDS_FILE .* is not JSON/)]);
    });
  });

  describe('expressway doctor and ports', () => {
    test('reports ports that are free, in use, or not permitted', async () => {
      const taken = await answering(200);
      const free = String(await closedPort());
      expect((await examine('ports', { PORT: free })).said).toEqual([
        `note 127.0.0.1:${free} is free: the gateway does not run, and could listen there`,
      ]);
      const other = await examine('ports', { PORT: String(taken.port) });
      expect(other.said).toEqual([`fail 127.0.0.1:${taken.port} is taken by another program`]);
      const nobody = await examine('ports', { PORT: free, HOST: '192.0.2.1' });
      expect(nobody.said).toEqual([`fail the gateway cannot listen on 192.0.2.1:${free}: EADDRNOTAVAIL`]);
    });

    test('recognises a running gateway, and reports its problems', async () => {
      const down = `http://127.0.0.1:${await closedPort()}`;
      const flags = ['--host', '127.0.0.1', '--port', '0', '--admin-port', '0', '--backend', down];
      const running = cleanup.add(new CliProcess(['start', ...flags], { CIRCUIT_MINIMUM_REQUESTS: '1' }));
      const url = new URL(await running.said(/"url":"([^"]+)"/));
      const admin = new URL(await running.said(/"adminUrl":"([^"]+)"/));
      const env = { PORT: url.port, ADMIN_PORT: admin.port, BACKENDS: down };
      expect((await examine('ports', env)).said).toEqual([
        `ok the gateway listens on 127.0.0.1:${url.port}`,
        `ok the admin listener listens on 127.0.0.1:${admin.port}`,
        'ok the gateway runs',
      ]);
      expect((await fetch(url)).status).toBe(502);
      expect((await examine('ports', env)).said).toContain(`warn it sends nothing to ${down} (circuit open)`);
    });
  });

  /** What stands behind an admin listener: each state of a backend that a gateway tells, with workers and without. */
  test.each<[string, object, string[]]>([
    ['healthy', { available: true, circuit: 'closed' }, []],
    ['out', { available: false, circuit: 'open' }, ['warn it sends nothing to http://b (circuit open)']],
    ['healthy in all workers', { processes: 2, unavailableIn: 0, circuit: 'closed' }, []],
    [
      'out in one worker',
      { processes: 2, unavailableIn: 1, available: true, circuit: 'open' },
      ['warn it sends nothing to http://b in 1 of 2 workers (circuit open)'],
    ],
    [
      'out in all workers',
      { processes: 2, unavailableIn: 2, available: false, circuit: 'open' },
      ['warn it sends nothing to http://b (circuit open)'],
    ],
    [
      'drained',
      { available: false, circuit: 'closed', held: 'drained' },
      ['warn it sends nothing to http://b: an operator has drained it'],
    ],
  ])('reports a running gateway whose backend is %s', async (_state, state, warnings) => {
    const status = { phase: 'running', backends: [{ backend: 'http://b', ...state }] };
    const admin = cleanup.add(await listen((_req, res) => void res.end(JSON.stringify(status))));
    const { said } = await examine('ports', { ADMIN_PORT: String(admin.port) });
    expect(said.filter((one) => !one.startsWith('ok '))).toEqual(warnings);
    expect(said).toContain('ok the gateway runs');
  });

  test('warns of nothing when a gateway with workers has a healthy backend', async () => {
    const { url: backend } = await answering(200);
    const flags = ['--host', '127.0.0.1', '--port', '0', '--admin-port', '0', '--backend', backend];
    const running = cleanup.add(new CliProcess(['start', ...flags], { WORKERS: '2' }));
    const admin = new URL(await running.said(/"adminUrl":"([^"]+)"/));
    const { said } = await examine('ports', {
      ADMIN_PORT: admin.port,
      BACKENDS: backend,
      WORKERS: '2',
    });
    expect(said).toContain('ok the gateway runs');
    expect(said.filter((one) => one.startsWith('warn'))).toEqual([]);
    const { backends } = (await (await fetch(`${admin.origin}/status`)).json()) as { backends: object[] };
    expect(backends).toEqual([expect.objectContaining({ backend, available: true, processes: 2, unavailableIn: 0 })]);
  });

  describe('expressway doctor and TRUST_PROXY', () => {
    const sample = async (trust: string, peer: string, field?: string) => {
      const args = ['--peer', peer, ...(field === undefined ? [] : ['--sample-forwarded-for', field])];
      const { said, found } = await examine('trust proxy', { TRUST_PROXY: trust }, args);
      expect(said).toHaveLength(1);
      return { said: said[0], fix: found[0]?.fix };
    };

    test('warns of an untrusted proxy, with the setting to add', async () => {
      const { said, fix } = await sample('', '10.0.0.1', '203.0.113.7');
      expect(said).toMatch(/^warn the client would be 10\.0\.0\.1: .* share one limit$/);
      expect(fix).toContain('TRUST_PROXY=10.0.0.1');
    });

    test('names the client for a number and for a list of proxies, and ignores forged entries', async () => {
      const field = '192.0.2.66, 203.0.113.7, 10.0.0.2';
      for (const trust of ['2', '10.0.0.0/8']) {
        expect((await sample(trust, '10.0.0.1', field)).said).toBe(
          'ok the client would be 203.0.113.7 (what stands before it, 192.0.2.66, is ignored: any client can write that)',
        );
      }
      const ipv6 = await sample('1', '::1', '2001:db8:1:2::3');
      expect(ipv6.said).toBe('ok the client would be 2001:db8:1:2::3, counted as 2001:db8:1::/56');
    });

    test('warns when more proxies are trusted than exist, because clients could forge their address', async () => {
      const { said, fix } = await sample('2', '10.0.0.1', '203.0.113.7');
      expect(said).toMatch(/^warn the client would be 203\.0\.113\.7, and this address is trusted as well/);
      expect(fix).toContain('TRUST_PROXY=1');
    });

    test('reports a proxy without X-Forwarded-For, a client without a proxy, and an invalid address', async () => {
      expect((await sample('1', '10.0.0.1')).said).toMatch(/^warn .* sends no X-Forwarded-For$/);
      expect((await sample('', '203.0.113.7')).said).toBe(
        'ok the client would be 203.0.113.7, the other end of the connection',
      );
      expect((await sample('1', '10.0.0.1', 'unknown')).said).toMatch(/^warn "unknown" is not an address/);
    });

    test('exits with 2 for a sample without a peer or with an invalid one', async () => {
      for (const args of [
        ['--sample-forwarded-for', '1.2.3.4'],
        ['--peer', 'proxy'],
      ]) {
        const { code, err } = await host.run(['doctor', ...args], NOWHERE);
        expect([code, err]).toEqual([2, expect.stringContaining('--peer')]);
      }
    });
  });

  test('expressway doctor checks the certificate of the listener', async () => {
    const [cert, key] = [join(folder, 'own.pem'), join(folder, 'own.key')];
    writeFileSync(cert, certificate.cert);
    writeFileSync(key, certificate.key);
    const { said } = await examine('certificate', { TLS_CERT: cert, TLS_KEY: key });
    expect(said).toEqual([expect.stringMatching(/^ok certificate for DNS:api\.test.*, \d+ days left$/)]);
    const swapped = await examine('certificate', { TLS_CERT: key, TLS_KEY: cert });
    expect(swapped.said).toEqual([expect.stringMatching(/^fail TLS_CERT /)]);
  });
});

describe('expressway doctor without Redis', () => {
  test('warns that limits are not shared, or that Redis does not respond', async () => {
    expect((await examine('redis', {})).said).toEqual([expect.stringMatching(/^note REDIS_URL is empty/)]);
    const away = await examine('redis', { REDIS_URL: `redis://127.0.0.1:${await closedPort()}` });
    expect(away.code).toBe(1);
    expect(away.said).toEqual([expect.stringMatching(/^fail Redis: .*ECONNREFUSED/)]);
    const bad = await examine('redis', { REDIS_URL: 'redis+cluster://a:1?x=1' });
    expect(bad.said).toEqual([expect.stringMatching(/^fail REDIS_URL must have no parameters/)]);
  });

  test('gives up on a silent Redis after a bounded time', async () => {
    const mute = cleanup.add(await listen(() => {}));
    const { said } = await examine('redis', { REDIS_URL: `redis://127.0.0.1:${mute.port}` });
    expect(said).toEqual([expect.stringMatching(/^fail Redis: /)]);
  });
});

describeWithRedis('expressway doctor and Redis', (redis) => {
  const look = async (login = '') => {
    const { url } = await answering(200);
    return examine('redis', { BACKENDS: url, REDIS_URL: redis.url.replace('//', `//${login}`) });
  };

  test('finds nothing wrong with a healthy Redis, and leaves no key in it', async () => {
    const { code, said } = await look();
    expect(said).toEqual([
      expect.stringMatching(/^(ok|warn) Redis replies in [\d.]+ ms/),
      expect.stringMatching(/^ok the clock of Redis is \d+ ms (behind|ahead of) this machine's$/),
      expect.stringMatching(/^ok (Redis|Valkey) \d+\./),
      'ok it has no maxmemory, so it forgets no client early',
      'ok scripts run, and this login has all permissions that the limiter needs on expressway:rl:ip:*',
    ]);
    expect(code).toBe(0);
    expect(await redis.command('PTTL', 'expressway:rl:ip:none')).toBe(-2);
    for (const key of (await redis.command('KEYS', '*')) as string[]) {
      expect([key, Number(await redis.command('PTTL', key)) <= 1_000]).toEqual([key, true]);
    }
  });

  test('warns of a Redis that evicts keys when it is full', async () => {
    await redis.command('CONFIG', 'SET', 'maxmemory', '100mb', 'maxmemory-policy', 'allkeys-lru');
    const { said, found } = await look();
    expect(said).toContainEqual(expect.stringMatching(/^warn maxmemory-policy allkeys-lru/));
    expect(found.find(({ level }) => level === 'warn')?.fix).toContain('noeviction');
    await redis.command('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
    expect((await look()).said).toContainEqual(expect.stringMatching(/^ok maxmemory-policy noeviction/));
    await redis.command('CONFIG', 'SET', 'maxmemory', '0');
  });

  test('reports a refused login without showing the password', async () => {
    await redis.command('ACL', 'SETUSER', 'wrong', 'on', '>right', '~*', '+@all');
    const { said, found, report } = await look('wrong:secret-word@');
    expect(said).toEqual([expect.stringMatching(/^fail Redis: WRONGPASS/)]);
    expect(found[0]?.fix).toContain('user and password');
    expect(JSON.stringify(report)).not.toContain('secret-word');
  });

  test('says that Redis refuses the connection, and not to start it', async () => {
    const url = `redis://127.0.0.1:${redis.port}/99`;
    const { said, found } = await examine('redis', { REDIS_URL: url });
    expect(said).toEqual(['fail Redis refuses the connection: ERR DB index is out of range']);
    expect(found[0]?.fix).toMatch(/^Correct that in Redis, or the database number in REDIS_URL/);
  });

  test('prints the ACL line for a missing permission, which then suffices', async () => {
    await redis.command('ACL', 'SETUSER', 'less', 'on', '>pw', '~expressway:rl:ip:*', '+ping', '+time', '+eval');
    const { said, found } = await look('less:pw@');
    expect(said).toContainEqual(expect.stringMatching(/^note Redis does not report its version/));
    expect(said).toContainEqual(expect.stringMatching(/^fail Redis refuses SCRIPT LOAD: NOPERM/));
    const fix = found.find(({ level }) => level === 'fail')?.fix ?? '';
    const rules = /ACL SETUSER <user> ([^(]+)/.exec(fix)?.[1]?.trim().split(' ') ?? [];
    await redis.command('ACL', 'SETUSER', 'enough', 'reset', 'on', '>pw', ...rules);
    const enough = await look('enough:pw@');
    expect(enough.said).toContainEqual(expect.stringMatching(/^ok scripts run/));
    expect(enough.code).toBe(0);
  });

  test('reports a command that the login may not use in scripts', async () => {
    const all = ['+@all', '-zadd'];
    await redis.command('ACL', 'SETUSER', 'nozadd', 'on', '>pw', '~*', ...all);
    const { said, found } = await look('nozadd:pw@');
    expect(said).toContainEqual(expect.stringMatching(/^fail Redis refuses ZADD: /));
    expect(found.find(({ level }) => level === 'fail')?.fix).toContain('ACL SETUSER');
  });

  test('reports a Redis that is a replica', async () => {
    await redis.command('REPLICAOF', '127.0.0.1', String(await closedPort()));
    const { said } = await look();
    expect(said).toContainEqual(expect.stringMatching(/^fail it is a replica/));
    expect(said).toContainEqual(expect.stringMatching(/^fail Redis refuses SET: .*READONLY/));
    await redis.command('REPLICAOF', 'NO', 'ONE');
  });
});
