import { collectDefaultMetrics, Registry } from 'prom-client';
import { accessLog, type GatewayEvents, observability, prometheusMetrics, statusFeed, tracing } from '../../index.ts';
import type { Config } from '../config/config.ts';
import type { HostedApp } from '../hosted-app.ts';
import type { Logger } from '../logging/logger.ts';
import { watchGateway } from './gateway-problems.ts';
import type { GatewayState, LogHealth } from './gateway-state.ts';
import { OpenTelemetry } from './open-telemetry.ts';

/** Names come from the configuration. More than a gateway has: it only bounds old names after many reloads. */
const MOST_ROUTES = 2_000;

/** Writes the lines of the access log. */
export interface Lines extends LogHealth {
  write(line: string): void;
}

export interface ObserveParts {
  readonly config: Config;
  readonly events: GatewayEvents;
  readonly log: Logger;
  readonly lines: Lines;
  readonly state: GatewayState;
  readonly isWorker: boolean;
}

/** Metrics, traces, access log and problems of the gateway. Features that are off cost nothing. */
export function observe({ config, events, log, lines, state, isWorker }: ObserveParts, hosted: HostedApp) {
  // Proxies of the router are read anew each time, because a declaration may change them.
  const proxies = [...given(hosted.proxy), ...(hosted.proxies ?? [])];
  const routers = given(hosted.router);
  const parts = { limiters: given(hosted.limiter), breakers: given(hosted.breaker), proxies, routers };
  // JSON lines have the form of the logger's lines, but ignore its level. Formatting them with pino would cost twice as much.
  const to = config.accessLog?.format === 'json' ? log.lines : lines;
  const base = config.accessLog?.format === 'json' ? { level: 'info', ...log.bindings() } : undefined;
  const { redact } = config;
  const access = config.accessLog && accessLog({ ...config.accessLog, redact, to, base, events });
  const telemetry = config.tracing ? new OpenTelemetry(log) : undefined;
  const register = config.admin && new Registry();
  // Without the admin listener, no page shows the counts, but the log still reports problems found in them.
  if (register !== undefined) collectDefaultMetrics({ register });
  const counted = { register: register ?? NOWHERE, maxRoutes: MOST_ROUTES, accessLogs: [lines] };
  const metrics = prometheusMetrics({ ...counted, events, ...parts });
  state.log ??= lines;
  const problems = watchGateway(state, isWorker);
  const feed = statusFeed({ events, metrics, problems, ...parts });
  return {
    middleware: observability({
      metrics,
      accessLog: access,
      status: feed,
      tracing: telemetry && tracing({ api: telemetry.api, redact }),
      routers,
      serverTiming: config.serverTiming,
    }),
    register,
    feed,
    problems: () => feed.problems,
    async close(): Promise<void> {
      feed.close();
      metrics.close();
      access?.close();
      await telemetry?.flush();
    },
  };
}

export type Observer = ReturnType<typeof observe>;

const given = <T>(part: T | undefined): readonly T[] => (part === undefined ? [] : [part]);

/** A registry that is never read. */
const NOWHERE = Object.freeze({ registerMetric() {} });
