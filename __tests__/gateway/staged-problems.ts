import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { answer, type Behaviour, fail, hang, type ScriptedBackend, startBackend } from 'expressway/testing';
import { LOOK_EVERY_MS } from '../../lib/observability/problems/problem-monitor.ts';
import { makeCertificate } from '../support/made-certificate.ts';
import { pause } from '../support/pause.ts';
import { hasRedis, RedisServer } from '../support/redis.ts';
import { eventually } from '../support/servers.ts';
import { StagedGateway, type StagedOptions } from './staged-gateway.ts';

/** A comparison with the past needs some of it. */
async function learn({ requests }: ScriptedBackend): Promise<void> {
  await eventually('the backend has had some traffic', () => requests.length >= 100);
  await pause('two looks find out what is usual for a backend', 2 * LOOK_EVERY_MS + 500);
}

/** What a failure is staged with; all of it ends with the stage. */
export class Staging {
  readonly #ends: (() => unknown)[] = [];

  /** A backend whose behaviour can be changed. */
  async backend(first: Behaviour = answer()): Promise<ScriptedBackend & { now: Behaviour }> {
    const changing = { now: first };
    const backend = await startBackend({ otherwise: (req, res) => changing.now(req, res) });
    this.onEnd(() => backend.close());
    return Object.defineProperty(backend, 'now', {
      set: (behaviour: Behaviour) => {
        changing.now = behaviour;
      },
    }) as ScriptedBackend & { now: Behaviour };
  }

  async redis(...args: string[]): Promise<RedisServer> {
    const redis = new RedisServer({
      args: (port) => ['--port', `${port}`, '--save', '', ...args],
      url: (port) => `redis://:right@127.0.0.1:${port}`,
    });
    await redis.start();
    this.onEnd(() => redis.kill());
    return redis;
  }

  async gateway(options: StagedOptions): Promise<StagedGateway> {
    const gateway = await StagedGateway.start(options);
    this.onEnd(() => gateway.close());
    return gateway;
  }

  /** A new folder. */
  folder(): string {
    const folder = mkdtempSync(join(tmpdir(), 'expressway-staged-'));
    this.onEnd(() => rmSync(folder, { recursive: true }));
    return folder;
  }

  /** Requests one after the other, some at a time, until the stage ends. */
  traffic(url: string, { atOnce = 4, pauseMs = 50, headers = () => ({}) as Record<string, string> } = {}): void {
    const agent = new Agent({ keepAlive: true, maxSockets: atOnce });
    let isOn = true;
    const lane = async (): Promise<void> => {
      while (isOn) {
        await ask(url, agent, headers());
        await pause('the pace of the load', pauseMs);
      }
    };
    for (let i = 0; i < atOnce; i += 1) void lane();
    this.onEnd(() => {
      isOn = false;
      agent.destroy();
    });
  }

  onEnd(end: () => unknown): void {
    this.#ends.push(end);
  }

  async end(): Promise<void> {
    for (const end of this.#ends.reverse()) await end();
  }
}

/** Whatever comes, or does not. */
export const ask = (url: string, agent?: Agent, headers: Record<string, string> = {}): Promise<void> =>
  new Promise((resolve) => {
    get(url, { headers, ...(agent === undefined ? { agent: false } : { agent }) }, (res) => {
      res
        .on('close', resolve)
        .on('error', () => {})
        .resume();
    }).on('error', () => resolve());
  });

/** Opens connections, and sends nothing. */
async function hold(url: string, count: number, staging: Staging): Promise<void> {
  for (let i = 0; i < count; i += 1) {
    const socket = connect(Number(new URL(url).port), '127.0.0.1').on('error', () => {});
    staging.onEnd(() => socket.destroy());
    await once(socket, 'connect');
  }
}

/** A failure, and where an operator is to see it. */
export interface Stage {
  readonly failure: string;
  /** The kind of problem that is to be found. */
  readonly problem: string;
  /** What headline, text or next step are to say. */
  readonly says: RegExp;
  /** `stderr`: the log itself is what fails. Default: the log. */
  readonly log?: 'stderr';
  readonly needsRedis?: boolean;
  /** Those of a group can happen to one gateway at once: none hides another. */
  readonly group?: { readonly name: string; readonly parts: PlainParts };
  /** Starts a gateway that works; gives it with what makes it fail. */
  readonly prepare: (staging: Staging) => Promise<readonly [StagedGateway, () => unknown]>;
}

interface PlainParts {
  readonly env: Readonly<Record<string, string>>;
  readonly fails: (gateway: StagedGateway, staging: Staging) => unknown;
}

let client = 0;
const forwardedFor = () => {
  client += 1;
  return { 'X-Forwarded-For': `203.0.${(client >> 8) % 256}.${client % 256}` };
};

/** A gateway in front of one backend that works, with some traffic from the moment of the failure on. */
const plain =
  (env: PlainParts['env'], fails: PlainParts['fails'], more: Omit<StagedOptions, 'env'> = {}) =>
  async (staging: Staging) => {
    const backend = await staging.backend();
    const gateway = await staging.gateway({ ...more, env: { BACKENDS: backend.url, ...env } });
    return [gateway, () => fails(gateway, staging)] as const;
  };

/** The same, of a group. */
const inGroup = (name: string, env: PlainParts['env'], fails: PlainParts['fails']) => ({
  group: { name, parts: { env, fails } },
  prepare: plain(env, fails),
});

/** All that happens to one gateway, where there are several. */
export function prepareAll(stages: readonly Stage[], staging: Staging): ReturnType<Stage['prepare']> {
  const [first, ...others] = stages as readonly [Stage];
  if (others.length === 0) return first.prepare(staging);
  const parts = stages.flatMap(({ group }) => group?.parts ?? []);
  const env = Object.assign({}, ...parts.map((one) => one.env));
  return plain(env, (gateway) => Promise.all(parts.map(({ fails }) => fails(gateway, staging))))(staging);
}

const redisStage = (
  failure: string,
  problem: string,
  says: RegExp,
  urlOf: (redis: RedisServer) => string,
  args: readonly string[] = ['--requirepass', 'right'],
): Stage => ({
  failure,
  problem,
  says,
  needsRedis: true,
  async prepare(staging) {
    const redis = await staging.redis(...args);
    return plain({ REDIS_URL: urlOf(redis) }, (gateway) => staging.traffic(gateway.url))(staging);
  },
});

const WITHOUT_REDIS = { REDIS_URL: 'redis://127.0.0.1:9', RATE_LIMIT_ON_STORE_ERROR: 'closed' };

const ALL: readonly Stage[] = [
  {
    failure: 'a backend becomes slow',
    problem: 'backend_slow',
    // Which of the two decides depends on how busy this machine is.
    says: /is slow.*or more to respond to .*(?:usually take up to|are given up after).*Look at the load of the backend/s,
    async prepare(staging) {
      const backend = await staging.backend();
      const gateway = await staging.gateway({ env: { BACKENDS: backend.url, RESPONSE_TIMEOUT_MS: '5500' } });
      staging.traffic(gateway.url, { atOnce: 8 });
      await learn(backend);
      return [
        gateway,
        () => {
          backend.now = answer({ delayMs: 3_000 });
        },
      ];
    },
  },
  {
    failure: 'one of two backends is slow from the start',
    problem: 'backend_slow',
    says: /Up, but \S+ is slow.*the other backends take/s,
    async prepare(staging) {
      const [quick, slow] = [await staging.backend(), await staging.backend(answer({ delayMs: 2_000 }))];
      const gateway = await staging.gateway({ env: { BACKENDS: `${quick.url},${slow.url}` } });
      return [gateway, () => staging.traffic(gateway.url, { atOnce: 8 })];
    },
  },
  {
    failure: 'a backend hangs',
    problem: 'backend_slow',
    says: /does not respond.*has not responded to any of 8 requests/s,
    async prepare(staging) {
      const backend = await staging.backend();
      const gateway = await staging.gateway({ env: { BACKENDS: backend.url } });
      staging.traffic(gateway.url, { atOnce: 8 });
      await learn(backend);
      return [
        gateway,
        () => {
          backend.now = hang();
        },
      ];
    },
  },
  {
    failure: 'a backend responds with 500',
    problem: 'backend_errors',
    says: /responded with 500 to \d+ of \d+ requests in the last 10 s.*log of the backend/s,
    async prepare(staging) {
      const [good, bad] = [await staging.backend(), await staging.backend(fail(500))];
      const env = { BACKENDS: `${good.url},${bad.url}`, CIRCUIT_MINIMUM_REQUESTS: '100000' };
      const gateway = await staging.gateway({ env });
      return [gateway, () => staging.traffic(gateway.url)];
    },
  },
  {
    failure: 'the backend of one of two services responds with 500',
    problem: 'route_errors',
    says: /Up, but route \/shop fails 100 % of its requests.*responded with 5xx to \d+ of \d+ requests.*backends of its service/s,
    async prepare(staging) {
      const [good, bad] = [await staging.backend(), await staging.backend(fail(500))];
      const file = join(staging.folder(), 'gateway.json');
      const circuit = { minimumRequests: 100_000 };
      const services = { users: { backends: [good.url] }, shop: { backends: [bad.url], circuit } };
      const routes = [
        { path: '/users', service: 'users' },
        { path: '/shop', service: 'shop' },
      ];
      writeFileSync(file, JSON.stringify({ services, routes }));
      const gateway = await staging.gateway({ env: { GATEWAY_CONFIG: file } });
      return [
        gateway,
        () => {
          for (const path of ['/users', '/shop']) staging.traffic(gateway.url + path);
        },
      ];
    },
  },
  {
    failure: 'the circuit of one of two routes opens',
    problem: 'route_circuit_open',
    says: /Up, but route \/shop rejects its requests.*Too many requests of route \/shop failed.*backends of its service/s,
    async prepare(staging) {
      const [good, bad] = [await staging.backend(), await staging.backend(fail(500))];
      const file = join(staging.folder(), 'gateway.json');
      const never = { circuit: { minimumRequests: 100_000 } };
      const services = { users: { backends: [good.url] }, shop: { backends: [bad.url], ...never } };
      const circuit = { minimumRequests: 5, openMs: 60_000 };
      const routes = [
        { path: '/users', service: 'users' },
        { path: '/shop', service: 'shop', circuit },
      ];
      writeFileSync(file, JSON.stringify({ services, routes }));
      const gateway = await staging.gateway({ env: { GATEWAY_CONFIG: file } });
      return [
        gateway,
        () => {
          for (const path of ['/users', '/shop']) staging.traffic(gateway.url + path);
        },
      ];
    },
  },
  {
    failure: 'one of two backends is killed',
    problem: 'backend_unavailable',
    says: /is out.*circuit is open.*connection_refused.*Start its process/s,
    async prepare(staging) {
      const [good, bad] = [await staging.backend(), await staging.backend()];
      const gateway = await staging.gateway({ env: { BACKENDS: `${good.url},${bad.url}` } });
      staging.traffic(gateway.url);
      return [gateway, () => bad.refuse()];
    },
  },
  {
    failure: 'all backends are killed',
    problem: 'backends_unavailable',
    says: /Down: no backend takes requests.*connection_refused.*Start its process/s,
    async prepare(staging) {
      const backend = await staging.backend();
      const gateway = await staging.gateway({ env: { BACKENDS: backend.url } });
      staging.traffic(gateway.url);
      return [gateway, () => backend.refuse()];
    },
  },
  {
    failure: 'TRUST_PROXY is empty behind a proxy',
    problem: 'trust_proxy_missing',
    says: /share one limit: TRUST_PROXY does not trust it.*% of them got 429.*set TRUST_PROXY=127.0.0.1/s,
    prepare: plain({ RATE_LIMIT_MAX: '10' }, (gateway, staging) =>
      staging.traffic(gateway.url, { headers: forwardedFor }),
    ),
  },
  {
    failure: 'TRUST_PROXY is too high',
    problem: 'trust_proxy_hops',
    says: /TRUST_PROXY=2 trusts more proxies than there are.*at most 1 in X-Forwarded-For.*it looks like 1/s,
    prepare: plain({ TRUST_PROXY: '2' }, (gateway, staging) => staging.traffic(gateway.url, { headers: forwardedFor })),
  },
  redisStage(
    'a wrong Redis password',
    'redis_authentication',
    /authentication failed.*WRONGPASS.*REDIS_URL/s,
    ({ port }) => `redis://:wrong@127.0.0.1:${port}`,
  ),
  redisStage(
    'no Redis password',
    'redis_authentication',
    /authentication failed.*NOAUTH.*REDIS_URL/s,
    ({ port }) => `redis://127.0.0.1:${port}`,
  ),
  redisStage(
    'a Redis user without permissions',
    'redis_permission',
    /does not permit a command.*NOPERM.*REDIS_URL/s,
    ({ port }) => `redis://limited:right@127.0.0.1:${port}`,
    ['--requirepass', 'right', '--user', 'limited', 'on', '>right', '~*', '&*', '+@connection', '+info'],
  ),
  redisStage(
    'rediss:// to a Redis without TLS',
    'redis_tls',
    /TLS with Redis fails.*redis:\/\/ where not/s,
    ({ port }) => `rediss://:right@127.0.0.1:${port}`,
  ),
  {
    failure: 'Redis is not there, and RATE_LIMIT_ON_STORE_ERROR=closed',
    problem: 'redis_unreachable',
    says: /Down: Redis cannot be reached: all requests are rejected.*ECONNREFUSED.*Start Redis/s,
    ...inGroup('closed', WITHOUT_REDIS, ({ url }, staging) => staging.traffic(url)),
  },
  {
    failure: 'requests get 503 by the gateway itself',
    problem: 'gateway_errors',
    says: /gateway itself failed \d+ of \d+ requests.*limiter_unavailable.*docs\/errors.md/s,
    ...inGroup('closed', WITHOUT_REDIS, ({ url }, staging) => staging.traffic(url)),
  },
  {
    failure: 'a dns:// name whose lookup fails',
    problem: 'dns_failing',
    says: /the DNS lookup of dns:\/\/nobody.test:80.*DNS_SERVERS/s,
    async prepare(staging) {
      const backend = await staging.backend();
      const env = { BACKENDS: `${backend.url},dns://nobody.test:80`, DNS_SERVERS: '127.0.0.1:9' };
      return [await staging.gateway({ env }), () => {}];
    },
  },
  {
    failure: 'a full disk under the access log',
    problem: 'log_failing',
    says: /the log cannot be written \(ENOSPC\).*Free space/s,
    log: 'stderr',
    prepare: plain({ ACCESS_LOG: 'json' }, (gateway, staging) => staging.traffic(gateway.url), { stdout: '/dev/full' }),
  },
  {
    failure: 'a blocked event loop',
    problem: 'event_loop_blocked',
    says: /the event loop stood still for 1\.\d s.*all its requests waited/s,
    ...inGroup('small', {}, ({ url }) => ask(`${url}/staged/block`)),
  },
  {
    failure: 'workers that crash again and again',
    problem: 'workers_crashing',
    says: /workers crash again and again.*with code \d+.*standard error/s,
    prepare: plain({ WORKERS: '2' }, (gateway, staging) =>
      staging.traffic(`${gateway.url}/staged/crash`, { atOnce: 1, pauseMs: 300 }),
    ),
  },
  {
    failure: 'a process warning',
    problem: 'process_warning',
    says: /STAGED: something is old.*documentation of Node/s,
    ...inGroup('small', {}, ({ url }) => ask(`${url}/staged/warn`)),
  },
  {
    failure: 'a rejected reload, with a misspelt variable in it',
    problem: 'reload_rejected',
    says: /the last reload was rejected.*RATE_LIMIT_WINDOW_MS: must be.*RATE_LIMT_MAX is unknown: did you mean RATE_LIMIT_MAX/s,
    async prepare(staging) {
      const file = join(staging.folder(), '.env');
      writeFileSync(file, '');
      const backend = await staging.backend();
      const gateway = await staging.gateway({
        // Not in the environment proper, which would win over the file.
        env: { BACKENDS: backend.url, EXPRESSWAY_ENV_FILE: file, RATE_LIMIT_MAX: '' },
      });
      return [
        gateway,
        () => {
          writeFileSync(file, 'RATE_LIMT_MAX=7\nRATE_LIMIT_WINDOW_MS=soon\n');
          gateway.signal('SIGHUP');
        },
      ];
    },
  },
  {
    failure: 'a certificate that expires soon',
    problem: 'certificate_expiring',
    says: /the certificate for soon.test expires in 4 days.*Renew it/s,
    async prepare(staging) {
      const folder = staging.folder();
      const { cert, key } = makeCertificate(folder, 'soon', { names: ['DNS:soon.test'], days: 5 });
      return plain({ TLS_CERT: cert, TLS_KEY: key }, () => {})(staging);
    },
  },
  {
    failure: 'a misspelt variable at the start',
    problem: 'variable_misspelt',
    says: /REDIS_URI is unknown: did you mean REDIS_URL.*Correct the name/s,
    ...inGroup('small', { REDIS_URI: 'redis://127.0.0.1' }, () => {}),
  },
  {
    failure: 'no file descriptors left',
    problem: 'gateway_resources',
    says: /run out of what connections need \(EMFILE\).*ulimit -n/s,
    async prepare(staging) {
      const backend = await staging.backend(answer({ delayMs: 50 }));
      const gateway = await staging.gateway({ env: { BACKENDS: backend.url }, openFiles: 256 });
      const agent = new Agent({ keepAlive: true, maxSockets: 12 });
      staging.onEnd(() => agent.destroy());
      // Connections of clients and of the operator are there already: those to backends are what is missing.
      await Promise.all(Array.from({ length: 12 }, () => ask(`${gateway.url}/staged/ok`, agent)));
      await Promise.all([gateway.ask('/status'), gateway.ask('/metrics')]);
      return [
        gateway,
        async () => {
          await ask(`${gateway.url}/staged/take-files`, agent);
          const timer = setInterval(() => {
            for (let i = 0; i < 12; i += 1) void ask(gateway.url, agent);
          }, 250);
          staging.onEnd(() => clearInterval(timer));
        },
      ];
    },
  },
  {
    failure: 'a client that pipelines requests',
    problem: 'client_pipelining',
    says: /127.0.0.1 pipelines requests.*one at a time/s,
    ...inGroup('small', {}, ({ url }, staging) => {
      const socket = connect(Number(new URL(url).port), '127.0.0.1');
      socket.on('error', () => {}).resume();
      socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'.repeat(200));
      staging.onEnd(() => socket.destroy());
    }),
  },
  {
    failure: 'silent connections fill MAX_CONNECTIONS',
    problem: 'connections_full',
    says: /^Down: all connections of port \d+ that MAX_CONNECTIONS allows are in use.*closed at once.*allowed: 10 .*Raise MAX_CONNECTIONS/s,
    prepare: plain({ MAX_CONNECTIONS: '10' }, async ({ url }, staging) => {
      await hold(url, 10, staging);
      staging.traffic(url);
    }),
  },
  {
    failure: 'one address fills MAX_CONNECTIONS_PER_ADDRESS',
    problem: 'client_connections_full',
    says: /127.0.0.1 has all connections that MAX_CONNECTIONS_PER_ADDRESS allows.*of one address: 10 .*TRUST_PROXY/s,
    prepare: plain({ MAX_CONNECTIONS_PER_ADDRESS: '10' }, async ({ url }, staging) => {
      await hold(url, 10, staging);
      staging.traffic(url);
    }),
  },
  {
    failure: 'one address holds the admin connections',
    problem: 'admin_connections',
    says: /127.0.0.1 holds most admin connections.*idle ones are closed/s,
    ...inGroup('small', {}, ({ adminUrl }, staging) => {
      for (let i = 0; i < 300; i += 1) {
        const socket = connect(Number(new URL(adminUrl).port), '127.0.0.1').on('error', () => {});
        staging.onEnd(() => socket.destroy());
      }
    }),
  },
  {
    failure: 'more clients than a limiter has room for',
    problem: 'rate_limit_keys_full',
    says: /no room for more clients.*maxKeys.*REDIS_URL/s,
    prepare: plain({ STAGED_MAX_KEYS: '1000', TRUST_PROXY: '1' }, (gateway, staging) =>
      staging.traffic(gateway.url, { headers: forwardedFor, atOnce: 8, pauseMs: 0 }),
    ),
  },
];

/** In CI there is a Redis: what needs one fails without. */
export const STAGES = ALL.filter(({ needsRedis }) => needsRedis !== true || hasRedis || process.env.CI === 'true');
