import type {
  AccessLogFormat,
  AlgorithmName,
  AmbiguousPaths,
  BackendOptions,
  LoadBalancing,
  OnStoreError,
} from '../../index.ts';
import type { LogLevel } from '../logging/logger.ts';
import { StartError } from '../start-error.ts';
import type { TrustProxy } from './env-values.ts';
import type { BackendTlsFiles, TlsFiles } from './tls-files.ts';
import { givenIn, variables } from './variables.ts';

/** What the example gateway is told by its environment. */
export interface Config {
  readonly host: string;
  readonly port: number;
  /** Processes that serve traffic; with 1, this one does. */
  readonly workers: number;
  /** A worker whose event loop stands still for so long is ended; 0 is never. */
  readonly workerHangTimeoutMs: number;
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
    readonly ipv6Subnet: number;
    readonly storeTimeoutMs: number;
    readonly fallbackAfterMisses: number;
    readonly fallbackAfterMs: number;
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
  readonly backendTls: BackendTlsFiles;
  /** 0 for content of any length. */
  readonly maxBodyBytes: number;
  readonly ambiguousPaths: AmbiguousPaths;
  /** Headers that only trusted proxies may send, beside those that are known. */
  readonly identityHeaders: readonly string[];
  /** Whether several slashes in a row in a path become one. */
  readonly mergeSlashes: boolean;
  /** What a client may take of the gateway. */
  readonly bounds: {
    readonly headTimeoutMs: number;
    readonly maxTargetBytes: number;
    readonly keepAliveTimeoutMs: number;
    readonly maxConnections: number;
    readonly maxConnectionsPerAddress: number;
  };
  readonly connectTimeoutMs: number;
  readonly responseTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly shutdownLeadMs: number;
  readonly shutdownTimeoutMs: number;
  /** Nothing when the admin listener is off. */
  readonly admin: { readonly host: string; readonly port: number; readonly token: string | undefined } | undefined;
  readonly logLevel: LogLevel;
  /** Nothing when it is off. `sample` is the part of the requests without an error that gets a line. */
  readonly accessLog: { readonly format: AccessLogFormat; readonly sample: number } | undefined;
  /** Names of parameters that are masked in the access log and in traces, beside the usual ones. */
  readonly redact: readonly string[];
  /** Whether answers carry `Server-Timing`. */
  readonly serverTiming: boolean;
  /** Whether requests are traced, by the OpenTelemetry SDK that the process has registered. */
  readonly tracing: boolean;
}

/** A bad environment. Every bad variable has its line in `problems`. */
export class ConfigError extends StartError {}

/**
 * @throws {ConfigError} that names every bad variable.
 */
export function readConfig(env: NodeJS.ProcessEnv): Config {
  const given = givenIn(env);
  const { success, data: read, error } = variables.safeParse(given);
  const problems = error?.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`) ?? [];
  if (given.LOAD_BALANCING === 'sticky' && given.STICKY_SECRET === undefined) {
    problems.push('LOAD_BALANCING: sticky needs a STICKY_SECRET');
  }
  // Who was started to serve backends of his own is not to have those of the demo, at a reload either.
  if (env.EXPRESSWAY_NEEDS_BACKENDS && given.BACKENDS === undefined && given.BACKENDS_FILE === undefined) {
    problems.push('BACKENDS: there is no backend: say where requests go with --backend, BACKENDS or BACKENDS_FILE');
  }
  for (const [cert, key] of [
    ['TLS_CERT', 'TLS_KEY'],
    ['BACKEND_CERT', 'BACKEND_KEY'],
  ] as const) {
    if ((given[cert] === undefined) !== (given[key] === undefined)) problems.push(`${cert}: goes with ${key}`);
  }
  if (!success || problems.length > 0) throw new ConfigError(problems);
  const { ACCESS_LOG: format } = read;
  return {
    host: read.HOST,
    port: read.PORT,
    workers: read.WORKERS,
    workerHangTimeoutMs: read.WORKER_HANG_TIMEOUT_MS,
    backends: read.BACKENDS,
    backendsFile: read.BACKENDS_FILE,
    dns: { refreshMs: read.DNS_REFRESH_MS, servers: read.DNS_SERVERS },
    loadBalancing: loadBalancingOf(read),
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
      ipv6Subnet: read.RATE_LIMIT_IPV6_SUBNET,
      storeTimeoutMs: read.RATE_LIMIT_STORE_TIMEOUT_MS,
      fallbackAfterMisses: read.RATE_LIMIT_FALLBACK_AFTER_MISSES,
      fallbackAfterMs: read.RATE_LIMIT_FALLBACK_AFTER_MS,
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
    identityHeaders: read.IDENTITY_HEADERS,
    mergeSlashes: read.MERGE_SLASHES === 'on',
    bounds: {
      headTimeoutMs: read.HEAD_TIMEOUT_MS,
      maxTargetBytes: read.MAX_TARGET_BYTES,
      keepAliveTimeoutMs: read.KEEP_ALIVE_TIMEOUT_MS,
      maxConnections: read.MAX_CONNECTIONS,
      maxConnectionsPerAddress: read.MAX_CONNECTIONS_PER_ADDRESS,
    },
    connectTimeoutMs: read.CONNECT_TIMEOUT_MS,
    responseTimeoutMs: read.RESPONSE_TIMEOUT_MS,
    idleTimeoutMs: read.IDLE_TIMEOUT_MS,
    shutdownLeadMs: read.SHUTDOWN_LEAD_MS,
    shutdownTimeoutMs: read.SHUTDOWN_TIMEOUT_MS,
    admin:
      read.ADMIN_PORT === undefined
        ? undefined
        : { host: read.ADMIN_HOST, port: read.ADMIN_PORT, token: read.ADMIN_TOKEN },
    logLevel: read.LOG_LEVEL,
    accessLog: format === 'off' ? undefined : { format, sample: read.ACCESS_LOG_SAMPLE },
    redact: read.REDACT,
    serverTiming: read.SERVER_TIMING === 'on',
    tracing: read.TRACING === 'on',
  };
}

function loadBalancingOf(read: ReturnType<typeof variables.parse>): Config['loadBalancing'] {
  const { LOAD_BALANCING: policy, STICKY_SECRET: secret = '' } = read;
  if (policy === 'sticky') return { policy, secret };
  return policy === 'hash' ? { policy, by: read.HASH_BY, loadFactor: read.HASH_LOAD_FACTOR } : policy;
}
