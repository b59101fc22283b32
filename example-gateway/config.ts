import type {
  AccessLogFormat,
  AlgorithmName,
  AmbiguousPaths,
  BackendOptions,
  LoadBalancing,
  OnStoreError,
} from 'expressway';
import { z } from 'zod';
import {
  addresses,
  dnsServers,
  durationMs,
  host,
  integer,
  oneOf,
  optionalDurationMs,
  optionalFile,
  optionalInteger,
  optionalPath,
  optionalPort,
  optionalRatio,
  optionalSecret,
  optionalShare,
  origins,
  port,
  ratio,
  redisUrl,
  type TrustProxy,
  trustProxy,
} from './env-values.ts';
import { LOG_LEVELS, type LogLevel } from './logger.ts';
import { StartError } from './start-error.ts';
import type { TlsFiles } from './tls-files.ts';

/** What the example gateway is told by its environment. */
export interface Config {
  readonly host: string;
  readonly port: number;
  /** Origins, like `http://localhost:8081`, and names that are looked up. */
  readonly backends: readonly (string | BackendOptions)[];
  /** JSON file whose list of backends takes the place of `backends`. */
  readonly backendsFile: string | undefined;
  /** How names are looked up; by the system's own servers where none are named. */
  readonly dns: { readonly refreshMs: number; readonly servers: readonly string[] | undefined };
  readonly loadBalancing: LoadBalancing;
  readonly slowStartMs: number;
  readonly redisUrl: string | undefined;
  readonly trustProxy: TrustProxy;
  readonly rateLimit: {
    readonly algorithm: AlgorithmName;
    readonly limit: number;
    readonly windowMs: number;
    /** Only with a token bucket. */
    readonly burst: number | undefined;
    readonly allow: readonly string[];
    readonly deny: readonly string[];
    readonly onStoreError: OnStoreError;
    /** Nothing when each request asks Redis. */
    readonly lease: { readonly share: number } | undefined;
  };
  readonly circuit: {
    readonly failureRatio: number;
    readonly minimumRequests: number;
    readonly windowMs: number;
    readonly openMs: number;
    readonly halfOpenRequests: number;
  };
  /** Off without a path. */
  readonly healthCheck: { readonly path: string | undefined; readonly intervalMs: number; readonly timeoutMs: number };
  /** Files of the certificate and its key; without them the listener speaks plain HTTP. */
  readonly tls: TlsFiles | undefined;
  /** Files for backends over https: authorities to trust, and what the gateway shows them. */
  readonly backendTls: {
    readonly ca: string | undefined;
    readonly cert: string | undefined;
    readonly key: string | undefined;
  };
  /** 0 for content of any length. */
  readonly maxBodyBytes: number;
  readonly ambiguousPaths: AmbiguousPaths;
  /** What a client may take of the gateway. */
  readonly bounds: {
    readonly headTimeoutMs: number;
    readonly keepAliveTimeoutMs: number;
    readonly maxConnections: number;
    readonly maxConnectionsPerAddress: number;
  };
  readonly connectTimeoutMs: number;
  readonly responseTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly shutdownTimeoutMs: number;
  /** Nothing when the admin listener is off. */
  readonly admin: { readonly host: string; readonly port: number } | undefined;
  readonly logLevel: LogLevel;
  /** Nothing when it is off. `sample` is the part of the requests without an error that gets a line. */
  readonly accessLog: { readonly format: AccessLogFormat; readonly sample: number } | undefined;
  /** Whether answers carry `Server-Timing`. */
  readonly serverTiming: boolean;
}

/** A bad environment. Every bad variable has its line in `problems`. */
export class ConfigError extends StartError {}

const variables = z.object({
  HOST: host('0.0.0.0'),
  PORT: port(8080),
  TLS_CERT: optionalFile(),
  TLS_KEY: optionalFile(),
  BACKENDS: origins('http://localhost:8081,http://localhost:8082'),
  BACKENDS_FILE: optionalFile(),
  BACKEND_CA: optionalFile(),
  BACKEND_CERT: optionalFile(),
  BACKEND_KEY: optionalFile(),
  DNS_REFRESH_MS: durationMs(30_000),
  DNS_SERVERS: dnsServers(),
  LOAD_BALANCING: oneOf('round-robin', ['round-robin', 'weighted', 'least-requests', 'latency', 'hash', 'sticky']),
  STICKY_SECRET: optionalSecret(),
  SLOW_START_MS: optionalDurationMs(0),
  REDIS_URL: redisUrl(),
  TRUST_PROXY: trustProxy(),
  RATE_LIMIT_ALGORITHM: oneOf('sliding-window', ['sliding-window', 'fixed-window', 'token-bucket']),
  RATE_LIMIT_MAX: integer(100, 1),
  RATE_LIMIT_WINDOW_MS: durationMs(60_000),
  RATE_LIMIT_BURST: optionalInteger(1),
  RATE_LIMIT_ALLOW: addresses(),
  RATE_LIMIT_DENY: addresses(),
  RATE_LIMIT_ON_STORE_ERROR: oneOf('local', ['local', 'open', 'closed']),
  RATE_LIMIT_LEASE: optionalShare(0.5),
  CIRCUIT_FAILURE_RATIO: ratio(0.6),
  CIRCUIT_MINIMUM_REQUESTS: integer(5, 1),
  CIRCUIT_WINDOW_MS: optionalDurationMs(10_000),
  CIRCUIT_OPEN_MS: durationMs(10_000),
  CIRCUIT_HALF_OPEN_REQUESTS: integer(3, 1),
  HEALTH_CHECK_PATH: optionalPath(),
  HEALTH_CHECK_INTERVAL_MS: durationMs(10_000),
  HEALTH_CHECK_TIMEOUT_MS: durationMs(2_000),
  MAX_BODY_BYTES: integer(10_485_760, 0, Number.MAX_SAFE_INTEGER),
  AMBIGUOUS_PATHS: oneOf('reject', ['reject', 'pass']),
  HEAD_TIMEOUT_MS: optionalDurationMs(15_000),
  KEEP_ALIVE_TIMEOUT_MS: durationMs(65_000),
  MAX_CONNECTIONS: integer(10_000, 0),
  MAX_CONNECTIONS_PER_ADDRESS: integer(1_000, 0),
  CONNECT_TIMEOUT_MS: durationMs(2_000),
  RESPONSE_TIMEOUT_MS: durationMs(15_000),
  IDLE_TIMEOUT_MS: durationMs(60_000),
  SHUTDOWN_TIMEOUT_MS: durationMs(10_000),
  ADMIN_HOST: host('127.0.0.1'),
  ADMIN_PORT: optionalPort(9090),
  LOG_LEVEL: oneOf('info', LOG_LEVELS),
  ACCESS_LOG: oneOf('off', ['off', 'json', 'common', 'combined']),
  ACCESS_LOG_SAMPLE: optionalRatio(1),
  SERVER_TIMING: oneOf('off', ['off', 'on']),
});

/**
 * BACKENDS alone.
 *
 * @throws {ConfigError} that says what is wrong with it.
 */
export function readBackends(env: NodeJS.Dict<string>): Config['backends'] {
  const { success, data, error } = variables.shape.BACKENDS.safeParse(env.BACKENDS?.trim() || undefined);
  if (!success) throw new ConfigError(error.issues.map((issue) => `BACKENDS: ${issue.message}`));
  return data;
}

/** The variables for which present but empty differs from absent. */
const EMPTY_MEANS_OFF = new Set(['ADMIN_PORT']);

/**
 * @throws {ConfigError} that names every bad variable.
 */
export function readConfig(env: NodeJS.ProcessEnv): Config {
  const given: Record<string, string> = {};
  for (const name of Object.keys(variables.shape)) {
    const text = env[name]?.trim();
    if (text !== undefined && (text !== '' || EMPTY_MEANS_OFF.has(name))) given[name] = text;
  }
  const { success, data: read, error } = variables.safeParse(given);
  const problems = error?.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`) ?? [];
  if (given.LOAD_BALANCING === 'sticky' && given.STICKY_SECRET === undefined) {
    problems.push('LOAD_BALANCING: sticky needs a STICKY_SECRET');
  }
  for (const [cert, key] of [
    ['TLS_CERT', 'TLS_KEY'],
    ['BACKEND_CERT', 'BACKEND_KEY'],
  ] as const) {
    if ((given[cert] === undefined) !== (given[key] === undefined)) problems.push(`${cert}: goes with ${key}`);
  }
  if (!success || problems.length > 0) throw new ConfigError(problems);
  const { LOAD_BALANCING: policy, STICKY_SECRET: secret = '', ACCESS_LOG: format } = read;
  return {
    host: read.HOST,
    port: read.PORT,
    backends: read.BACKENDS,
    backendsFile: read.BACKENDS_FILE,
    dns: { refreshMs: read.DNS_REFRESH_MS, servers: read.DNS_SERVERS },
    loadBalancing: policy === 'sticky' ? { policy, secret } : policy,
    slowStartMs: read.SLOW_START_MS,
    redisUrl: read.REDIS_URL,
    trustProxy: read.TRUST_PROXY,
    rateLimit: {
      algorithm: read.RATE_LIMIT_ALGORITHM,
      limit: read.RATE_LIMIT_MAX,
      windowMs: read.RATE_LIMIT_WINDOW_MS,
      burst: read.RATE_LIMIT_ALGORITHM === 'token-bucket' ? read.RATE_LIMIT_BURST : undefined,
      allow: read.RATE_LIMIT_ALLOW,
      deny: read.RATE_LIMIT_DENY,
      onStoreError: read.RATE_LIMIT_ON_STORE_ERROR,
      lease: read.RATE_LIMIT_LEASE === undefined ? undefined : { share: read.RATE_LIMIT_LEASE },
    },
    circuit: {
      failureRatio: read.CIRCUIT_FAILURE_RATIO,
      minimumRequests: read.CIRCUIT_MINIMUM_REQUESTS,
      windowMs: read.CIRCUIT_WINDOW_MS,
      openMs: read.CIRCUIT_OPEN_MS,
      halfOpenRequests: read.CIRCUIT_HALF_OPEN_REQUESTS,
    },
    healthCheck: {
      path: read.HEALTH_CHECK_PATH,
      intervalMs: read.HEALTH_CHECK_INTERVAL_MS,
      timeoutMs: read.HEALTH_CHECK_TIMEOUT_MS,
    },
    tls: read.TLS_CERT && read.TLS_KEY ? { cert: read.TLS_CERT, key: read.TLS_KEY } : undefined,
    backendTls: { ca: read.BACKEND_CA, cert: read.BACKEND_CERT, key: read.BACKEND_KEY },
    maxBodyBytes: read.MAX_BODY_BYTES,
    ambiguousPaths: read.AMBIGUOUS_PATHS,
    bounds: {
      headTimeoutMs: read.HEAD_TIMEOUT_MS,
      keepAliveTimeoutMs: read.KEEP_ALIVE_TIMEOUT_MS,
      maxConnections: read.MAX_CONNECTIONS,
      maxConnectionsPerAddress: read.MAX_CONNECTIONS_PER_ADDRESS,
    },
    connectTimeoutMs: read.CONNECT_TIMEOUT_MS,
    responseTimeoutMs: read.RESPONSE_TIMEOUT_MS,
    idleTimeoutMs: read.IDLE_TIMEOUT_MS,
    shutdownTimeoutMs: read.SHUTDOWN_TIMEOUT_MS,
    admin: read.ADMIN_PORT === undefined ? undefined : { host: read.ADMIN_HOST, port: read.ADMIN_PORT },
    logLevel: read.LOG_LEVEL,
    accessLog: format === 'off' ? undefined : { format, sample: read.ACCESS_LOG_SAMPLE },
    serverTiming: read.SERVER_TIMING === 'on',
  };
}
