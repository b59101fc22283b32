import { collectDefaultMetrics, Registry } from 'prom-client';
import { accessLog, type GatewayEvents, observability, prometheusMetrics, statusFeed, tracing } from '../../index.ts';
import type { Config } from '../config/config.ts';
import type { HostedApp } from '../hosted-app.ts';
import type { Logger } from '../logging/logger.ts';
import { OpenTelemetry } from './open-telemetry.ts';

/** Where the lines of the access log go. */
export interface Lines {
  write(line: string): void;
  /** Lines that it could not take. */
  readonly dropped: number;
}

/** Metrics, traces and access log of the gateway: what is off costs nothing. */
export function observe(config: Config, events: GatewayEvents, log: Logger, lines: Lines, hosted: HostedApp) {
  // JSON lines stand among the logger's, whatever its level, and look like them. Put together by pino they cost twice as much.
  const to = config.accessLog?.format === 'json' ? log.lines : lines;
  const base = config.accessLog?.format === 'json' ? { level: 'info', ...log.bindings() } : undefined;
  const { redact } = config;
  const access = config.accessLog && accessLog({ ...config.accessLog, redact, to, base, events });
  const telemetry = config.tracing ? new OpenTelemetry(log) : undefined;
  const register = config.admin && new Registry();
  const metrics = register && countInto(register, events, lines, hosted);
  const feed = metrics && statusFeed({ events, metrics, ...partsOf(hosted) });
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

export type Observer = ReturnType<typeof observe>;

const given = <T>(part: T | undefined): readonly T[] => (part === undefined ? [] : [part]);

const partsOf = ({ limiter, breaker, proxy }: HostedApp) => ({
  limiters: given(limiter),
  breakers: given(breaker),
  proxies: given(proxy),
});

function countInto(register: Registry, events: GatewayEvents, lines: Lines, hosted: HostedApp) {
  collectDefaultMetrics({ register });
  return prometheusMetrics({ register, events, ...partsOf(hosted), accessLogs: [lines] });
}
