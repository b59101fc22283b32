import { z } from 'zod';
import { LOG_LEVELS } from '../logging/logger.ts';
import {
  addresses,
  dnsServers,
  durationMs,
  hashBy,
  headerNames,
  host,
  integer,
  names,
  oneOf,
  optionalDurationMs,
  optionalFactor,
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
  trustProxy,
  workers,
} from './env-values.ts';

/** Every variable, how it is read, and its default. */
export const variables = z.object({
  HOST: host('0.0.0.0'),
  PORT: port(8080),
  WORKERS: workers(),
  WORKER_HANG_TIMEOUT_MS: optionalDurationMs(30_000),
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
  HASH_BY: hashBy(),
  HASH_LOAD_FACTOR: optionalFactor(),
  STICKY_SECRET: optionalSecret(),
  SLOW_START_MS: optionalDurationMs(0),
  REDIS_URL: redisUrl(),
  TRUST_PROXY: trustProxy(),
  IDENTITY_HEADERS: headerNames(),
  RATE_LIMIT_ALGORITHM: oneOf('sliding-window', ['sliding-window', 'fixed-window', 'token-bucket']),
  RATE_LIMIT_MAX: integer(100, 1),
  RATE_LIMIT_WINDOW_MS: durationMs(60_000),
  RATE_LIMIT_BURST: optionalInteger(1),
  RATE_LIMIT_ALLOW: addresses(),
  RATE_LIMIT_DENY: addresses(),
  RATE_LIMIT_ON_STORE_ERROR: oneOf('local', ['local', 'open', 'closed']),
  RATE_LIMIT_LEASE: optionalShare(0.5),
  RATE_LIMIT_IPV6_SUBNET: integer(56, 32, 64),
  RATE_LIMIT_STORE_TIMEOUT_MS: durationMs(50),
  RATE_LIMIT_FALLBACK_AFTER_MISSES: integer(5, 1),
  RATE_LIMIT_FALLBACK_AFTER_MS: optionalDurationMs(1_000),
  CIRCUIT_FAILURE_RATIO: ratio(0.6),
  CIRCUIT_MINIMUM_REQUESTS: integer(5, 1),
  CIRCUIT_WINDOW_MS: optionalDurationMs(10_000),
  CIRCUIT_OPEN_MS: durationMs(10_000),
  CIRCUIT_HALF_OPEN_REQUESTS: integer(3, 1),
  HEALTH_CHECK_PATH: optionalPath(),
  HEALTH_CHECK_INTERVAL_MS: durationMs(10_000),
  HEALTH_CHECK_TIMEOUT_MS: durationMs(2_000),
  MAX_BODY_BYTES: integer(10_485_760, 0, Number.MAX_SAFE_INTEGER),
  MAX_TARGET_BYTES: integer(8_192, 0),
  AMBIGUOUS_PATHS: oneOf('reject', ['reject', 'strict', 'pass']),
  MERGE_SLASHES: oneOf('on', ['on', 'off']),
  HEAD_TIMEOUT_MS: optionalDurationMs(15_000),
  KEEP_ALIVE_TIMEOUT_MS: durationMs(65_000),
  MAX_CONNECTIONS: integer(10_000, 0),
  MAX_CONNECTIONS_PER_ADDRESS: integer(1_000, 0),
  CONNECT_TIMEOUT_MS: durationMs(2_000),
  RESPONSE_TIMEOUT_MS: durationMs(60_000),
  IDLE_TIMEOUT_MS: durationMs(60_000),
  SHUTDOWN_LEAD_MS: optionalDurationMs(0),
  SHUTDOWN_TIMEOUT_MS: durationMs(10_000),
  ADMIN_HOST: host('127.0.0.1'),
  ADMIN_PORT: optionalPort(9090),
  ADMIN_TOKEN: optionalSecret(16),
  LOG_LEVEL: oneOf('info', LOG_LEVELS),
  ACCESS_LOG: oneOf('off', ['off', 'json', 'common', 'combined']),
  ACCESS_LOG_SAMPLE: optionalRatio(1),
  REDACT: names(),
  SERVER_TIMING: oneOf('off', ['off', 'on']),
  TRACING: oneOf('off', ['off', 'on']),
});

/** The variables for which present but empty differs from absent. */
const EMPTY_MEANS_OFF = new Set(['ADMIN_PORT']);

/** The variables that are set, as far as they mean anything here. */
export function givenIn(env: NodeJS.ProcessEnv): Record<string, string> {
  const given: Record<string, string> = {};
  for (const name of Object.keys(variables.shape)) {
    const text = env[name]?.trim();
    if (text !== undefined && (text !== '' || EMPTY_MEANS_OFF.has(name))) given[name] = text;
  }
  return given;
}

/** Names the variables that do not mean the same in two good environments. */
export function changedVariables(before: NodeJS.ProcessEnv, after: NodeJS.ProcessEnv): string[] {
  const [one, other] = [variables.parse(givenIn(before)), variables.parse(givenIn(after))];
  const names = Object.keys(variables.shape) as (keyof typeof one)[];
  return names.filter((name) => JSON.stringify(one[name]) !== JSON.stringify(other[name]));
}
