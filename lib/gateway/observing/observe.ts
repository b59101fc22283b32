import { collectDefaultMetrics, Registry } from 'prom-client';
import { accessLog, type GatewayEvents, observability, prometheusMetrics, statusFeed, tracing } from '../../index.ts';
import type { Config } from '../config/config.ts';
import type { HostedApp } from '../hosted-app.ts';
import type { Logger } from '../logging/logger.ts';
import { watchGateway } from './gateway-problems.ts';
import type { GatewayState, LogHealth } from './gateway-state.ts';
import { OpenTelemetry } from './open-telemetry.ts';

/** Names come from the configuration: this is more than a gateway has, and bounds what many reloads with other names leave behind. */
const MOST_ROUTES = 2_000;

/** Where the lines of the access log go. */
export interface Lines extends LogHealth {
  write(line: string): void;
}

export interface ObserveParts {
  readonly config: Config;
  readonly events: GatewayEvents;
  readonly log: Logger;
  readonly lines: Lines;
  readonly state: GatewayState;
}

/** Metrics, traces, access log and problems of the gateway: what is off costs nothing. */
export function observe({ config, events, log, lines, state }: ObserveParts, hosted: HostedApp) {
  // The router's are asked for at each look: a declaration may give it others.
  const proxies = [...given(hosted.proxy), ...(hosted.proxies ?? [])];
  const routers = given(hosted.router);
  const parts = { limiters: given(hosted.limiter), breakers: given(hosted.breaker), proxies, routers };
  // JSON lines stand among the logger's, whatever its level, and look like them. Put together by pino they cost twice as much.
  const to = config.accessLog?.format === 'json' ? log.lines : lines;
  const base = config.accessLog?.format === 'json' ? { level: 'info', ...log.bindings() } : undefined;
  const { redact } = config;
  const access = config.accessLog && accessLog({ ...config.accessLog, redact, to, base, events });
  const telemetry = config.tracing ? new OpenTelemetry(log) : undefined;
  const register = config.admin && new Registry();
  // Without the admin listener there is no page to show the counts; problems are found in them all the same, for the log.
  if (register !== undefined) collectDefaultMetrics({ register });
  const counted = { register: register ?? NOWHERE, maxRoutes: MOST_ROUTES, accessLogs: [lines] };
  const metrics = prometheusMetrics({ ...counted, events, ...parts });
  state.log ??= lines;
  const problems = watchGateway(state);
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
