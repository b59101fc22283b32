import {
  accessLog,
  type CircuitBreaker,
  type GatewayEvents,
  type IpRateLimiter,
  observability,
  prometheusMetrics,
  type RoundRobinProxy,
} from 'expressway';
import { collectDefaultMetrics, Registry } from 'prom-client';
import type { Config } from './config.ts';
import type { Logger } from './logger.ts';

/** Where the lines of the access log go. */
export interface Lines {
  write(line: string): void;
  /** Lines that it could not take. */
  readonly dropped: number;
}

interface Parts {
  readonly limiter: IpRateLimiter;
  readonly breaker: CircuitBreaker;
  readonly proxy: RoundRobinProxy;
}

/** Metrics and access log of the gateway: what is off costs nothing. */
export function observe(config: Config, events: GatewayEvents, log: Logger, lines: Lines, parts: Parts) {
  const { serverTiming } = config;
  // JSON lines are the logger's, whatever its level.
  const to = config.accessLog?.format === 'json' ? log.child({}, { level: 'info' }) : lines;
  const access = config.accessLog && accessLog({ ...config.accessLog, to });
  if (config.admin === undefined) {
    return { middleware: observability({ accessLog: access, serverTiming }), register: undefined, close() {} };
  }
  const register = new Registry();
  collectDefaultMetrics({ register });
  const { limiter, breaker, proxy } = parts;
  const metrics = prometheusMetrics({
    register,
    events,
    limiters: [limiter],
    breakers: [breaker],
    proxies: [proxy],
    accessLogs: [lines],
  });
  return {
    middleware: observability({ metrics, accessLog: access, serverTiming }),
    register,
    close: () => metrics.close(),
  };
}
