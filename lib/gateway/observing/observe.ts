import {
  accessLog,
  type CircuitBreaker,
  type GatewayEvents,
  type IpRateLimiter,
  observability,
  prometheusMetrics,
  type RoundRobinProxy,
  statusFeed,
  tracing,
} from 'expressway';
import { collectDefaultMetrics, Registry } from 'prom-client';
import type { Config } from '../config/config.ts';
import type { Logger } from '../logging/logger.ts';
import { OpenTelemetry } from './open-telemetry.ts';

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

/** Metrics, traces and access log of the gateway: what is off costs nothing. */
export function observe(config: Config, events: GatewayEvents, log: Logger, lines: Lines, parts: Parts) {
  // JSON lines stand among the logger's, whatever its level, and look like them. Put together by pino they cost twice as much.
  const to = config.accessLog?.format === 'json' ? log.lines : lines;
  const base = config.accessLog?.format === 'json' ? { level: 'info', ...log.bindings() } : undefined;
  const { redact } = config;
  const access = config.accessLog && accessLog({ ...config.accessLog, redact, to, base, events });
  const telemetry = config.tracing ? new OpenTelemetry(log) : undefined;
  const register = config.admin && new Registry();
  const metrics = register && countInto(register, events, lines, parts);
  const { limiter, breaker, proxy } = parts;
  const feed = metrics && statusFeed({ events, metrics, limiters: [limiter], breakers: [breaker], proxies: [proxy] });
  return {
    middleware: observability({
      metrics,
      accessLog: access,
      status: feed,
      tracing: telemetry && tracing({ api: telemetry.api, redact }),
      serverTiming: config.serverTiming,
    }),
    register,
    feed,
    async close(): Promise<void> {
      feed?.close();
      metrics?.close();
      access?.close();
      await telemetry?.flush();
    },
  };
}

function countInto(register: Registry, events: GatewayEvents, lines: Lines, { limiter, breaker, proxy }: Parts) {
  collectDefaultMetrics({ register });
  return prometheusMetrics({
    register,
    events,
    limiters: [limiter],
    breakers: [breaker],
    proxies: [proxy],
    accessLogs: [lines],
  });
}
