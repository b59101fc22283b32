import { availableParallelism } from 'node:os';
import { describe, expect, test } from '@jest/globals';
import { policies } from '../../lib/backends/selection/policies.ts';
import { ConfigError, readConfig, VARIABLES } from '../../lib/gateway/config/config.ts';
import { roundRobinProxy } from '../../lib/index.ts';

function problemsOf(env: NodeJS.ProcessEnv): readonly string[] {
  try {
    readConfig(env);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

function settingsOf(env: NodeJS.ProcessEnv): object {
  const { texts: _, ...settings } = readConfig(env);
  return settings;
}

const DEFAULTS = {
  host: '0.0.0.0',
  port: 8080,
  workers: 1,
  workerHangTimeoutMs: 30_000,
  workerSpare: true,
  tls: undefined,
  clientCa: undefined,
  clientCert: 'require',
  http2: true,
  maxConcurrentStreams: 100,
  httpsRedirect: undefined,
  strictTransportSecurity: undefined,
  proxyProtocol: [],
  backendTls: { ca: undefined, cert: undefined, key: undefined },
  backendProtocol: 'http1',
  changeOrigin: false,
  backends: ['http://localhost:8081', 'http://localhost:8082'],
  gatewayFile: undefined,
  declaration: undefined,
  backendsFile: undefined,
  dns: { refreshMs: 30_000, servers: undefined },
  loadBalancing: 'round-robin',
  slowStartMs: 0,
  adaptiveConcurrency: false,
  redisUrl: undefined,
  trustProxy: false,
  isRateLimited: true,
  rateLimit: {
    algorithm: 'sliding-window',
    limit: 100,
    windowMs: 60_000,
    burst: undefined,
    allow: [],
    deny: [],
    onStoreError: 'local',
    lease: undefined,
    ipv6Subnet: 56,
    storeTimeoutMs: 50,
    fallbackAfterMisses: 5,
    fallbackAfterMs: 1_000,
  },
  circuit: { failureRatio: 0.6, minimumRequests: 5, windowMs: 10_000, openMs: 10_000, halfOpenRequests: 3 },
  healthCheck: { path: undefined, intervalMs: 10_000, timeoutMs: 2_000 },
  maxBodyBytes: 10_485_760,
  ambiguousPaths: 'reject',
  identityHeaders: [],
  mergeSlashes: true,
  maxDelayMs: 100,
  bounds: {
    headTimeoutMs: 15_000,
    requestTimeoutMs: 3_600_000,
    maxTargetBytes: 8_192,
    keepAliveTimeoutMs: 65_000,
    maxConnections: 10_000,
    maxConnectionsPerAddress: 1_000,
  },
  connectTimeoutMs: 2_000,
  responseTimeoutMs: 60_000,
  idleTimeoutMs: 60_000,
  retry: { attempts: 1, budgetRatio: 0.2, budgetMinimum: 3 },
  shutdownLeadMs: 0,
  shutdownTimeoutMs: 10_000,
  admin: { host: '127.0.0.1', port: 9090, name: 'Expressway' },
  logLevel: 'info',
  accessLog: undefined,
  redact: [],
  serverTiming: false,
  tracing: false,
};

const BAD: readonly (readonly [string, string, RegExp])[] = [
  ['BACKEND_PROTOCOL', 'h2c', /must be one of http1, http2/],
  ['GATEWAY_NAME', 'x'.repeat(61), /at most 60 characters/],
  ['HOST', 'http://localhost', /without port/],
  ['HOST', 'a b', /without port/],
  ['HOST', '[::1]', /brackets/],
  ['WORKERS', '0', /must be auto or an integer from 1 to 256, got "0"/],
  ['WORKERS', '257', /from 1 to 256/],
  ['PORT', 'eighty', /from 0 to 65535, got "eighty"/],
  ['PORT', '65536', /from 0 to 65535/],
  ['PORT', '-1', /from 0 to 65535/],
  ['PORT', '80.5', /from 0 to 65535/],
  ['PORT', '0x50', /from 0 to 65535/],
  ['HTTP_REDIRECT_TO_PORT', '0', /from 1 to 65535/],
  ['PROXY_PROTOCOL', '1', /must be a list of addresses, CIDR ranges .* got "1"/],
  ['PROXY_PROTOCOL', 'true', /must be a list/],
  ['TLS_CERT', 'a.pem', /goes with TLS_KEY/],
  ['BACKENDS', 'localhost:8081', /"localhost:8081" must start with http/],
  ['BACKENDS', 'nonsense', /"nonsense" is not a URL/],
  ['BACKENDS', 'ftp://a', /"ftp:\/\/a" must start with http/],
  ['BACKENDS', 'http://a,', /an item is empty/],
  ['BACKENDS', ',', /an item is empty/],
  [
    'BACKENDS',
    'http://a/api',
    /"http:\/\/a\/api" must be an origin, without path: pathRewrite, or rewrite of a route, changes paths/,
  ],
  ['BACKENDS', 'http://a?x=1', /must be an origin, without path/],
  ['BACKENDS', 'http://a#x', /must be an origin, without path/],
  ['BACKENDS', 'http://a,http://A:80/', /"http:\/\/a" is named twice/],
  ['BACKENDS', 'http://user:geheim@a', /must not carry credentials/],
  ['BACKENDS', 'dns://api', /"dns:\/\/api" must have a port/],
  ['BACKENDS', 'srv+https://api', /TLS is not offered for srv/],
  ['BACKENDS', 'dns://user:geheim@a:80', /must not carry credentials/],
  ['BACKENDS', 'dns://a:80,DNS://A:80/', /"dns:\/\/a:80" is named twice/],
  ['BACKENDS', 'http://user:geheim@a:99999', /must not carry credentials/],
  ['BACKENDS', 'http://user:geheim@a;backup', /a backend may be followed by ;weight=/],
  // Two spellings of one name.
  ['BACKENDS', 'dns://api.internal.:8081,dns://api.internal:8081', /"dns:\/\/api.internal:8081" is named twice/],
  ['BACKENDS', 'dns://a:080,dns://a:80', /"dns:\/\/a:80" is named twice/],
  [
    'BACKENDS',
    'dns://bücher.example:80,dns://xn--bcher-kva.example:80',
    /"dns:\/\/xn--bcher-kva.example:80" is named twice/,
  ],
  ['BACKENDS', 'srv://_http._tcp.a.,srv://_HTTP._tcp.a', /"srv:\/\/_http._tcp.a" is named twice/],
  ['BACKENDS', 'http://[::1]:80,http://[0:0:0:0:0:0:0:1]', /"http:\/\/\[::1\]" is named twice/],
  [
    'BACKENDS',
    'http://a;weight=-1',
    /http:\/\/a may be followed by ;weight= and a number, then by ;keepAlive=false, and by nothing else/,
  ],
  ['BACKENDS', 'http://a;weight=1;weight=2', /followed by ;weight= and a number/],
  ['BACKENDS', 'http://a;backup', /followed by ;weight= and a number/],
  ['BACKENDS', 'http://a;weight=1;', /followed by ;weight= and a number/],
  ['BACKENDS', 'http://a;keepAlive=no', /followed by ;weight= and a number/],
  ['BACKENDS', 'http://a;weight=1keepAlive=false', /followed by ;weight= and a number/],
  ['BACKENDS', 'http://a;', /followed by ;weight= and a number/],
  ['BACKENDS', 'http://a;weight=1001', /weight must be an integer from 0 to 1000, got 1001/],
  ['BACKENDS', 'http://a/x;weight=1', /"http:\/\/a\/x" must be an origin, without path/],
  ['BACKENDS', 'dns://a;weight=1', /"dns:\/\/a" must have a port/],
  ['BACKENDS', 'http://a;weight=1,http://a;weight=2', /"http:\/\/a" is named twice/],
  ['LOAD_BALANCING', 'sticky', /needs a STICKY_SECRET/],
  ['HASH_BY', 'header:', /must be ip, header:<name>, cookie:<name> or query:<name>, got "header:"/],
  ['HASH_BY', 'header:a b', /must be ip/],
  ['HASH_BY', 'path', /must be ip/],
  ['HASH_LOAD_FACTOR', '0.5', /must be a number of at least 1, got "0.5"/],
  ['LOAD_BALANCING', 'fastest', /one of round-robin, weighted, least-requests, latency, hash, sticky, got "fastest"/],
  ['STICKY_SECRET', 'geheim', /at least 32 characters/],
  ['STICKY_COOKIE', 'a b', /a cookie name, got "a b"/],
  ['STICKY_SAME_SITE', 'no', /one of lax, strict, none/],
  ['STICKY_PATH', 'shop', /a path like \/shop, without ; and spaces, got "shop"/],
  ['STICKY_PATH', '/a;b', /a path like/],
  ['STICKY_DOMAIN', 'a b', /a domain like example.com, got "a b"/],
  ['STICKY_MAX_AGE_MS', '0', /from 1/],
  ['STICKY_PARTITIONED', 'yes', /one of on, off/],
  ['SLOW_START_MS', '-1', /from 0 to 2147483647/],
  ['DNS_REFRESH_MS', '0', /from 1/],
  ['DNS_SERVERS', 'ns.example', /a comma-separated list of IP addresses/],
  ['DNS_SERVERS', '10.0.0.1,', /a comma-separated list of IP addresses/],
  ['MAX_BODY_BYTES', '10M', /from 0 to 9007199254740991, got "10M"/],
  ['AMBIGUOUS_PATHS', 'maybe', /one of reject, strict, pass, got "maybe"/],
  ['IDENTITY_HEADERS', 'x-tenant, x user', /header names, or beginnings such as x-corp-\*, got "x user"/],
  ['MERGE_SLASHES', 'maybe', /one of on, off, got "maybe"/],
  ['LOAD_SHEDDING_DELAY_MS', '-1', /from 0/],
  ['KEEP_ALIVE_TIMEOUT_MS', '0', /from 1/],
  ['REDIS_URL', 'http://localhost:6379', /a URL like redis:/],
  ['REDIS_URL', 'localhost', /a URL like redis:/],
  ['REDIS_URL', 'redis:///0', /a URL like redis:/],
  ['REDIS_URL', 'redis://localhost/first', /a URL like redis:/],
  ['TRUST_PROXY', 'true', /must not be true: the client could/],
  ['TRUST_PROXY', 'TRUE', /must not be true: the client could/],
  ['TRUST_PROXY', '1.5', /1\.5/],
  ['TRUST_PROXY', 'loopback,,', /""/],
  ['TRUST_PROXY', 'everyone', /everyone/],
  ['TRUST_PROXY', '10.0.0.0/99', /10\.0\.0\.0\/99/],
  ['RATE_LIMIT_MAX', '0', /from 1/],
  ['RATE_LIMIT_MAX', 'many', /from 1/],
  ['RATE_LIMIT_WINDOW_MS', '0', /from 1 to 31622400000/],
  ['RATE_LIMIT_WINDOW_MS', '60s', /from 1 to 31622400000/],
  ['RATE_LIMIT_ALGORITHM', 'leaky-bucket', /one of sliding-window, fixed-window, token-bucket/],
  ['RATE_LIMIT_BURST', '0', /from 1/],
  ['RATE_LIMIT_ALLOW', '10.0.0.0/8, example.org,', /"example\.org" is not an IP address or CIDR range, "" is no/],
  ['RATE_LIMIT_LEASE', '0.6', /number over 0 and up to 0\.5/],
  ['RATE_LIMIT_IPV6_SUBNET', '65', /from 32 to 64/],
  ['RATE_LIMIT_STORE_TIMEOUT_MS', '0', /from 1/],
  ['RATE_LIMIT_FALLBACK_AFTER_MISSES', '0', /from 1/],
  ['RATE_LIMIT_FALLBACK_AFTER_MS', '-1', /from 0/],
  ['RATE_LIMIT_ON_STORE_ERROR', 'fail', /one of local, open, closed/],
  ['RATE_LIMIT_DENY', '10.0.0.0/33', /"10\.0\.0\.0\/33" is no/],
  ['CIRCUIT_FAILURE_RATIO', '0', /over 0 and up to 1/],
  ['CIRCUIT_FAILURE_RATIO', '1.1', /over 0 and up to 1/],
  ['CIRCUIT_FAILURE_RATIO', '60%', /over 0 and up to 1/],
  ['CIRCUIT_MINIMUM_REQUESTS', '0', /from 1/],
  ['CIRCUIT_WINDOW_MS', '1e4', /from 0 to 2147483647/],
  ['CIRCUIT_OPEN_MS', '2147483648', /from 1 to 2147483647/],
  ['CIRCUIT_FAILURE_STATUSES', '500,404', /must be a list of statuses from 500 to 599 like 502,503,504/],
  ['CIRCUIT_HALF_OPEN_REQUESTS', '0', /from 1/],
  ['HEALTH_CHECK_PATH', 'healthz', /a path like \/healthz, got "healthz"/],
  ['HEALTH_CHECK_PATH', 'http://a/healthz', /a path like/],
  ['HEALTH_CHECK_PATH', '/a b', /a path like/],
  ['HEALTH_CHECK_INTERVAL_MS', '0', /from 1/],
  ['HEALTH_CHECK_TIMEOUT_MS', '2s', /from 1/],
  ['CONNECT_TIMEOUT_MS', '0', /from 1/],
  ['RESPONSE_TIMEOUT_MS', 'no', /from 1/],
  ['IDLE_TIMEOUT_MS', 'NaN', /from 1/],
  ['RETRY_ATTEMPTS', '101', /from 0 to 100/],
  ['RETRY_BUDGET_RATIO', '1.1', /from 0 to 1, got "1.1"/],
  ['RETRY_BUDGET_MINIMUM', '-1', /from 0/],
  ['SHUTDOWN_TIMEOUT_MS', '-5', /from 1/],
  ['ADMIN_HOST', 'a/b', /without port/],
  ['ADMIN_PORT', 'off', /from 0 to 65535/],
  ['ACCESS_LOG', 'yes', /one of off, json, common, combined, got "yes"/],
  ['ACCESS_LOG_SAMPLE', '1.5', /from 0 to 1, got "1.5"/],
  ['ACCESS_LOG_SAMPLE', '-1', /from 0 to 1/],
  ['SERVER_TIMING', 'true', /one of on, off/],
  ['LOG_LEVEL', 'verbose', /one of silent, error, warn, info, debug, got "verbose"/],
];

const GOOD: readonly (readonly [string, string, object])[] = [
  ['HOST', '::', { host: '::' }],
  ['PORT', '0', { port: 0 }],
  ['PORT', ' 81 ', { port: 81 }],
  ['WORKERS', '4', { workers: 4 }],
  ['WORKERS', 'auto', { workers: availableParallelism() }],
  ['WORKER_HANG_TIMEOUT_MS', '0', { workerHangTimeoutMs: 0 }],
  ['WORKER_SPARE', 'off', { workerSpare: false }],
  ['TLS_CLIENT_CERT', 'request', { clientCert: 'request' }],
  ['HTTP2', 'off', { http2: false }],
  ['HTTP2_MAX_CONCURRENT_STREAMS', '1000', { maxConcurrentStreams: 1_000 }],
  ['CHANGE_ORIGIN', 'on', { changeOrigin: true }],
  ['BACKENDS', 'https://a', { backends: ['https://a'] }],
  ['BACKENDS', 'http://A:80/ , http://[::1]:81', { backends: ['http://a', 'http://[::1]:81'] }],
  [
    'BACKENDS',
    'dns://API.example:80/,srv://_http._tcp.b',
    { backends: ['dns://api.example:80', 'srv://_http._tcp.b'] },
  ],
  ['BACKENDS', 'dns+https://a:443', { backends: ['dns+https://a:443'] }],
  [
    'BACKENDS',
    'http://A:80/;weight=3, https://b ; weight=0,dns://c:80;weight=2,http://d',
    {
      backends: [
        { url: 'http://a', weight: 3 },
        { url: 'https://b', weight: 0 },
        { url: 'dns://c:80', weight: 2 },
        'http://d',
      ],
    },
  ],
  [
    'BACKENDS',
    'http://a;keepAlive=false,dns://b:80;weight=2;keepAlive=false',
    {
      backends: [
        { url: 'http://a', keepAlive: false },
        { url: 'dns://b:80', weight: 2, keepAlive: false },
      ],
    },
  ],
  ['LOAD_BALANCING', 'weighted', { loadBalancing: 'weighted' }],
  ['LOAD_BALANCING', 'least-requests', { loadBalancing: 'least-requests' }],
  ['LOAD_BALANCING', 'latency', { loadBalancing: 'latency' }],
  ['LOAD_BALANCING', 'hash', { loadBalancing: { policy: 'hash', by: 'ip', loadFactor: Number.POSITIVE_INFINITY } }],
  ['STICKY_SECRET', 's'.repeat(32), {}],
  ['SLOW_START_MS', '30000', { slowStartMs: 30_000 }],
  ['ADAPTIVE_CONCURRENCY', 'on', { adaptiveConcurrency: true }],
  ['BACKENDS_FILE', 'conf/backends.json', { backendsFile: 'conf/backends.json' }],
  ['DNS_REFRESH_MS', '9', { dns: { refreshMs: 9, servers: undefined } }],
  ['DNS_SERVERS', '10.0.0.1, [::1]:5353', { dns: { refreshMs: 30_000, servers: ['10.0.0.1', '[::1]:5353'] } }],
  ['MAX_BODY_BYTES', '0', { maxBodyBytes: 0 }],
  ['AMBIGUOUS_PATHS', 'pass', { ambiguousPaths: 'pass' }],
  ['IDENTITY_HEADERS', ' X-Tenant, x-corp-*,', { identityHeaders: ['X-Tenant', 'x-corp-*'] }],
  ['MERGE_SLASHES', 'off', { mergeSlashes: false }],
  ['LOAD_SHEDDING_DELAY_MS', '250', { maxDelayMs: 250 }],
  ['HEAD_TIMEOUT_MS', '0', { bounds: { ...DEFAULTS.bounds, headTimeoutMs: 0 } }],
  ['REQUEST_TIMEOUT_MS', '0', { bounds: { ...DEFAULTS.bounds, requestTimeoutMs: 0 } }],
  ['MAX_TARGET_BYTES', '99', { bounds: { ...DEFAULTS.bounds, maxTargetBytes: 99 } }],
  ['MAX_CONNECTIONS_PER_ADDRESS', '7', { bounds: { ...DEFAULTS.bounds, maxConnectionsPerAddress: 7 } }],
  ['REDIS_URL', 'rediss://u:p@r:6380/1', { redisUrl: 'rediss://u:p@r:6380/1' }],
  ['REDIS_URL', 'redis+cluster://one:7000,two', { redisUrl: 'redis+cluster://one:7000,two' }],
  ['TRUST_PROXY', '2', { trustProxy: 2 }],
  ['TRUST_PROXY', 'loopback, 10.0.0.0/8', { trustProxy: ['loopback', '10.0.0.0/8'] }],
  ['TRUST_PROXY', 'fd00::/8', { trustProxy: ['fd00::/8'] }],
  ['RATE_LIMIT_MAX', '7', { rateLimit: { ...DEFAULTS.rateLimit, limit: 7 } }],
  ['RATE_LIMIT_WINDOW_MS', '1000', { rateLimit: { ...DEFAULTS.rateLimit, windowMs: 1_000 } }],
  ['RATE_LIMIT_ALGORITHM', 'token-bucket', { rateLimit: { ...DEFAULTS.rateLimit, algorithm: 'token-bucket' } }],
  ['RATE_LIMIT_BURST', '5', {}],
  ['RATE_LIMIT_ALLOW', '10.0.0.0/8, ::1', { rateLimit: { ...DEFAULTS.rateLimit, allow: ['10.0.0.0/8', '::1'] } }],
  ['RATE_LIMIT_ON_STORE_ERROR', 'closed', { rateLimit: { ...DEFAULTS.rateLimit, onStoreError: 'closed' } }],
  ['RATE_LIMIT_LEASE', '.25', { rateLimit: { ...DEFAULTS.rateLimit, lease: { share: 0.25 } } }],
  ['RATE_LIMIT_IPV6_SUBNET', '64', { rateLimit: { ...DEFAULTS.rateLimit, ipv6Subnet: 64 } }],
  ['RATE_LIMIT_STORE_TIMEOUT_MS', '20', { rateLimit: { ...DEFAULTS.rateLimit, storeTimeoutMs: 20 } }],
  ['RATE_LIMIT_FALLBACK_AFTER_MISSES', '9', { rateLimit: { ...DEFAULTS.rateLimit, fallbackAfterMisses: 9 } }],
  ['RATE_LIMIT_FALLBACK_AFTER_MS', '0', { rateLimit: { ...DEFAULTS.rateLimit, fallbackAfterMs: 0 } }],
  ['RATE_LIMIT_DENY', '192.0.2.1', { rateLimit: { ...DEFAULTS.rateLimit, deny: ['192.0.2.1'] } }],
  ['CIRCUIT_FAILURE_RATIO', '.5', { circuit: { ...DEFAULTS.circuit, failureRatio: 0.5 } }],
  ['CIRCUIT_FAILURE_RATIO', '1', { circuit: { ...DEFAULTS.circuit, failureRatio: 1 } }],
  ['CIRCUIT_MINIMUM_REQUESTS', '9', { circuit: { ...DEFAULTS.circuit, minimumRequests: 9 } }],
  ['CIRCUIT_WINDOW_MS', '9', { circuit: { ...DEFAULTS.circuit, windowMs: 9 } }],
  ['CIRCUIT_WINDOW_MS', '0', { circuit: { ...DEFAULTS.circuit, windowMs: 0 } }],
  ['CIRCUIT_FAILURE_STATUSES', '502, 503', { circuit: { ...DEFAULTS.circuit, failureStatuses: [502, 503] } }],
  ['CIRCUIT_OPEN_MS', '9', { circuit: { ...DEFAULTS.circuit, openMs: 9 } }],
  ['CIRCUIT_HALF_OPEN_REQUESTS', '9', { circuit: { ...DEFAULTS.circuit, halfOpenRequests: 9 } }],
  ['HEALTH_CHECK_PATH', '/healthz?full=1', { healthCheck: { ...DEFAULTS.healthCheck, path: '/healthz?full=1' } }],
  ['HEALTH_CHECK_INTERVAL_MS', '9', { healthCheck: { ...DEFAULTS.healthCheck, intervalMs: 9 } }],
  ['HEALTH_CHECK_TIMEOUT_MS', '9', { healthCheck: { ...DEFAULTS.healthCheck, timeoutMs: 9 } }],
  ['CONNECT_TIMEOUT_MS', '9', { connectTimeoutMs: 9 }],
  ['RESPONSE_TIMEOUT_MS', '9', { responseTimeoutMs: 9 }],
  ['IDLE_TIMEOUT_MS', '9', { idleTimeoutMs: 9 }],
  ['RETRY_ATTEMPTS', '0', { retry: { ...DEFAULTS.retry, attempts: 0 } }],
  ['RETRY_BUDGET_RATIO', '0', { retry: { ...DEFAULTS.retry, budgetRatio: 0 } }],
  ['RETRY_BUDGET_MINIMUM', '0', { retry: { ...DEFAULTS.retry, budgetMinimum: 0 } }],
  ['SHUTDOWN_TIMEOUT_MS', '9', { shutdownTimeoutMs: 9 }],
  ['ADMIN_HOST', 'localhost', { admin: { ...DEFAULTS.admin, host: 'localhost' } }],
  ['ADMIN_PORT', '0', { admin: { ...DEFAULTS.admin, port: 0 } }],
  ['ADMIN_PORT', '', { admin: undefined }],
  ['GATEWAY_NAME', 'shop', { admin: { ...DEFAULTS.admin, name: 'shop' } }],
  ['LOG_LEVEL', 'silent', { logLevel: 'silent' }],
  ['ACCESS_LOG', 'common', { accessLog: { format: 'common', sample: 1 } }],
  ['ACCESS_LOG_SAMPLE', '0.1', { accessLog: undefined }],
  ['REDACT', ' user_email,, *phone* ', { redact: ['user_email', '*phone*'] }],
  ['SERVER_TIMING', 'on', { serverTiming: true }],
  ['TRACING', 'on', { tracing: true }],
];

describe('readConfig', () => {
  test('has a default for everything', () => {
    expect(settingsOf({})).toEqual(DEFAULTS);
  });

  test('reads an empty value as the default, except for ADMIN_PORT, and ignores unknown variables', () => {
    const names = new Set([...BAD, ...GOOD].map(([name]) => name));
    names.delete('ADMIN_PORT');
    const empty = Object.fromEntries([...names].map((name) => [name, '']));
    expect(settingsOf({ ...empty, SOMETHING_ELSE: 'x' })).toEqual(DEFAULTS);
  });

  test.each(GOOD)('%s=%s', (name, text, expected) => {
    expect(settingsOf({ [name]: text })).toEqual({ ...DEFAULTS, ...expected });
  });

  test('keeps the text of each variable for the status page, with the defaults and without unknown variables', () => {
    const { texts } = readConfig({ PORT: ' 81 ', ADMIN_PORT: '', SOMETHING_ELSE: 'x' });
    expect(texts).toMatchObject({ PORT: '81', HOST: '0.0.0.0' });
    expect(texts).not.toHaveProperty('ADMIN_PORT');
    expect(texts).not.toHaveProperty('SOMETHING_ELSE');
  });

  test.each(BAD)('refuses %s=%s', (name, text, why) => {
    const problems = problemsOf({ [name]: text });
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(new RegExp(`^${name}: `));
    expect(problems[0]).toMatch(why);
  });

  test('reads RATE_LIMIT_BURST for the token bucket', () => {
    const { rateLimit } = readConfig({ RATE_LIMIT_ALGORITHM: 'token-bucket', RATE_LIMIT_BURST: '5' });
    expect(rateLimit).toMatchObject({ algorithm: 'token-bucket', burst: 5 });
  });

  test.each([
    ['header:X-Tenant', { header: 'X-Tenant' }],
    ['cookie:user', { cookie: 'user' }],
    ['query:room id', { query: 'room id' }],
  ])('LOAD_BALANCING=hash goes by HASH_BY=%s, with the bound of HASH_LOAD_FACTOR', (HASH_BY, by) => {
    const env = { LOAD_BALANCING: 'hash', HASH_BY, HASH_LOAD_FACTOR: '1.25' };
    expect(readConfig(env).loadBalancing).toEqual({ policy: 'hash', by, loadFactor: 1.25 });
  });

  test('a byte order mark, which Node takes for a part of the first name in a file, is named', () => {
    expect(problemsOf({ '\uFEFFRATE_LIMIT_MAX': '5', PORT: '1' })).toEqual([
      'RATE_LIMIT_MAX: the file begins with a byte order mark (BOM): save it as UTF-8 without one',
    ]);
  });

  test.each([
    ['SHUTDOWN_LEAD_MS', { SHUTDOWN_LEAD_MS: '9000' }],
    ['SHUTDOWN_LEAD_MS', { SHUTDOWN_LEAD_MS: '800', SHUTDOWN_TIMEOUT_MS: '1000' }],
    ['RATE_LIMIT_LEASE', { RATE_LIMIT_ALGORITHM: 'fixed-window', RATE_LIMIT_LEASE: '0.2' }],
    ['RATE_LIMIT_MAX', { RATE_LIMIT_MAX: '1000000000', RATE_LIMIT_WINDOW_MS: '31536000000' }],
    ['RATE_LIMIT_MAX', { RATE_LIMIT_BURST: '1000000000', RATE_LIMIT_WINDOW_MS: '31536000000' }],
    ['RATE_LIMIT', { RATE_LIMIT: 'off' }],
    ['ADMIN_PORT', { PORT: '9090' }],
    ['ADMIN_PORT', { ADMIN_PORT: '8080', ADMIN_HOST: '10.0.0.1' }],
    ['ADMIN_PORT', { ADMIN_PORT: '8080', HOST: '::' }],
    ['ADMIN_PORT', { ADMIN_PORT: '8080', HOST: 'localhost', ADMIN_HOST: 'localhost' }],
    ['HTTP_REDIRECT_PORT', { TLS_CERT: 'a', TLS_KEY: 'b', HTTP_REDIRECT_PORT: '8080' }],
    ['ADMIN_PORT', { TLS_CERT: 'a', TLS_KEY: 'b', HTTP_REDIRECT_PORT: '9090' }],
  ])('%s: what a middleware would refuse is a problem of the variables: %j', (name, env) => {
    expect(problemsOf(env)).toEqual([expect.stringMatching(new RegExp(`^${name}: `))]);
  });

  test.each([
    { SHUTDOWN_LEAD_MS: '8999' },
    { PORT: '0', ADMIN_PORT: '0' },
    { PORT: '9090', ADMIN_PORT: '' },
    { PORT: '9090', HOST: '10.0.0.1' },
    { PORT: '9090', ADMIN_HOST: '::1' },
    { RATE_LIMIT_ALGORITHM: 'fixed-window', RATE_LIMIT_MAX: '1000000000', RATE_LIMIT_WINDOW_MS: '31536000000' },
  ])('%j is good', (env) => {
    expect(problemsOf(env)).toEqual([]);
  });

  test('LOAD_BALANCING=sticky takes its secret along, and says that it needs one among all other problems', () => {
    const secret = '0123456789abcdef0123456789abcdef';
    const attributes = { cookie: 'expressway-sticky', sameSite: 'lax', path: '/', partitioned: false };
    const { loadBalancing } = readConfig({ LOAD_BALANCING: 'sticky', STICKY_SECRET: secret });
    expect(loadBalancing).toEqual({ policy: 'sticky', secret, ...attributes });
    expect(problemsOf({ LOAD_BALANCING: 'sticky', STICKY_SECRET: ' ', PORT: 'x' })).toEqual([
      expect.stringMatching(/^PORT: /),
      'LOAD_BALANCING: sticky needs a STICKY_SECRET',
    ]);
  });

  test('LOAD_BALANCING takes every policy of the registry', () => {
    for (const { name } of policies) {
      expect(VARIABLES.LOAD_BALANCING?.read(name)).toBe(name);
      expect(VARIABLES.LOAD_BALANCING?.text).toContain(`${name} (`);
    }
  });

  test('LOAD_BALANCING=sticky makes cookies as the variables STICKY_* say', () => {
    const { loadBalancing } = readConfig({
      LOAD_BALANCING: 'sticky',
      STICKY_SECRET: '0123456789abcdef0123456789abcdef',
      STICKY_COOKIE: '__Secure-backend',
      STICKY_SAME_SITE: 'none',
      STICKY_PATH: '/shop',
      STICKY_DOMAIN: 'example.com',
      STICKY_MAX_AGE_MS: '3600000',
      STICKY_PARTITIONED: 'on',
    });
    expect(loadBalancing).toMatchObject({
      cookie: '__Secure-backend',
      sameSite: 'none',
      path: '/shop',
      domain: 'example.com',
      maxAgeMs: 3_600_000,
      partitioned: true,
    });
    // roundRobinProxy() takes it.
    expect(() => roundRobinProxy({ backends: ['http://a'], loadBalancing }).close()).not.toThrow();
  });

  test('lists every bad variable in one error', () => {
    const bad = Object.fromEntries(BAD.map(([name, text]) => [name, text]));
    const problems = problemsOf(bad);
    expect(problems.map((problem) => problem.split(':')[0]).sort()).toEqual(Object.keys(bad).sort());
    expect(() => readConfig(bad)).toThrow(problems.join('\n'));
  });

  test('lists every problem of BACKENDS', () => {
    const [problem] = problemsOf({ BACKENDS: 'nonsense,http://a/x,http://b,http://b,http://b' });
    expect(problem).toMatch(
      /"nonsense" is not a URL, "http:\/\/a\/x" must be an origin, without path: pathRewrite, or rewrite of a route, changes paths, "http:\/\/b" is named twice, "http:\/\/b" is named twice$/,
    );
  });

  test('keeps secrets out of its errors', () => {
    const problems = problemsOf({
      BACKENDS: 'http://u:geheim@a,u:geheim@b:80,https://c/?key=geheim',
      REDIS_URL: 'http://u:geheim@r',
      STICKY_SECRET: 'geheim',
    });
    expect(problems).toHaveLength(3);
    expect(problems.join()).not.toMatch(/geheim/);
  });
});
