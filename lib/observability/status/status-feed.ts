import type { GatewayProblem, ProblemEvent } from '../../core/events.ts';
import { eventsCheck, type GatewayEvents, subscribe } from '../../core/gateway-events.ts';
import { isGrpcFailure } from '../../core/grpc.ts';
import { type Checks, durationMs, optional, resolveOptions } from '../../core/options.ts';
import { causeOf, verdictOf } from '../../core/outcome.ts';
import { backendKey } from '../metrics/counts.ts';
import type { TrafficSource } from '../metrics/traffic-totals.ts';
import { ForwardedPeers } from '../problems/forwarded-peers.ts';
import { type WatchedKind, watchKinds } from '../problems/problem-kind.ts';
import { ProblemMonitor } from '../problems/problem-monitor.ts';
import { ProcessWarnings } from '../problems/process-warnings.ts';
import { RecentCounts } from '../problems/recent.ts';
import { TRAFFIC_PROBLEMS } from '../problems/traffic-problems.ts';
import type { FinishedRequest, RequestSink } from '../request-record.ts';
import { allBreakers, allLimiters, allProxies } from '../router-parts.ts';
import { BackendErrors } from './backend-errors.ts';
import { LiveRates } from './live-rates.ts';
import { mergeRows } from './merge-snapshots.ts';
import { ProcessLoad } from './process-load.ts';
import { Reading } from './reading.ts';
import { RecentChanges } from './recent-changes.ts';
import { routeRows, shownRoutes } from './route-rows.ts';
import type { BackendRow, StatusSnapshot, TrafficHistory } from './status-snapshot.ts';
import {
  type StatusBackend,
  type StatusBreaker,
  type StatusLimiter,
  type StatusProxy,
  type StatusRouter,
  type StatusServer,
  sourcesCheck,
} from './status-sources.ts';
import { TopClients } from './top-clients.ts';
import { TrafficSlots } from './traffic-slots.ts';
import { type StatusWatcher, Watchers } from './watchers.ts';

export type { StatusWatcher } from './watchers.ts';

/** Options of {@link statusFeed}. */
export interface StatusFeedOptions {
  /** The emitter that the middlewares share. */
  events: GatewayEvents;
  /** The result of `prometheusMetrics()`: its counts are read, nothing is counted twice. */
  metrics: TrafficSource;
  /** Results of `ipRateLimit()`. Default: none. */
  limiters?: readonly StatusLimiter[];
  /** Results of `circuitBreaker()`. Default: none. */
  breakers?: readonly StatusBreaker[];
  /** Results of `roundRobinProxy()`. Default: none. */
  proxies?: readonly StatusProxy[];
  /** Results of `serviceRouter()`: its routes and services are shown. Default: none. */
  routers?: readonly StatusRouter[];
  /** Problems to look for beside those of the suite. Default: none. */
  problems?: readonly WatchedKind[];
  /** Milliseconds between two snapshots while a client watches; a change of state is shown within a tenth of a second. Default 1 000. */
  intervalMs?: number;
}

/** Defaults of {@link StatusFeedOptions}. */
export const statusFeedDefaults = Object.freeze({ intervalMs: 1_000, problems: [] as readonly WatchedKind[] });

const checks: Checks<StatusFeedOptions> = {
  events: eventsCheck,
  metrics: (value) =>
    typeof (value as TrafficSource | null)?.totals === 'function'
      ? undefined
      : 'must be the result of prometheusMetrics()',
  limiters: sourcesCheck('ipRateLimit', 'name', 'mode'),
  breakers: sourcesCheck('circuitBreaker', 'name', 'state', 'retryAfterMs'),
  proxies: sourcesCheck('roundRobinProxy', 'name', 'status', 'load'),
  routers: sourcesCheck('serviceRouter', 'routes'),
  problems: (value) =>
    Array.isArray(value) &&
    value.every((one) => typeof one?.detector?.look === 'function' && typeof one?.kind?.problem === 'string')
      ? undefined
      : 'must be an array of { kind, detector }',
  intervalMs: optional(durationMs),
};

/** The data of the status page. It is a sink of `observability()`, which reports responses with 5xx to it. */
export interface StatusFeed extends RequestSink {
  snapshot(): StatusSnapshot;
  /** Present problems, the worst first. */
  readonly problems: readonly GatewayProblem[];
  /** The last 15 minutes, as far as this process has run. */
  history(): TrafficHistory;
  /** While there are watchers, all of them get the same snapshot each interval. @returns a function that ends the watch. */
  watch(watcher: StatusWatcher): () => void;
  /** Adds the number of connections of a server to the snapshots. */
  countConnections(server: StatusServer): void;
  /** Adds an action of an operator to the list of changes. */
  noteOperator(subject: string, text: string): void;
  /** Removes a client from the list of limited clients. */
  forgetClient(key: string): void;
  /** Stops timers and listeners. */
  close(): void;
}

const CLIENTS = 20;

/**
 * The state of a gateway for people: backends, limited clients, causes of errors, and headroom. It reads the counts of the metrics every ten
 * seconds, and all other values when a client asks.
 *
 * ```ts
 * const status = statusFeed({ events, metrics, limiters: [limiter], breakers: [breaker], proxies: [proxy] });
 * app.use(observability({ metrics, status }), limiter, breaker, proxy);
 * ```
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function statusFeed(given: StatusFeedOptions): StatusFeed {
  const {
    events,
    metrics,
    intervalMs,
    problems: more,
    ...sources
  } = resolveOptions('statusFeed', given, statusFeedDefaults, checks);
  const { limiters = [], breakers = [], routers = [] } = sources;
  const proxies = () => allProxies(sources.proxies, routers);
  const statuses = () =>
    proxies().flatMap((proxy) => proxy.status().map((status) => ({ service: proxy.name, ...status })));
  const keys = () => new Set(statuses().map(({ service, backend }) => backendKey(service, backend)));

  const errors = new BackendErrors(events, keys);
  const clients = new TopClients();
  const unsubscribe = subscribe(events, {
    limited: ({ limiter, key, limit, shadow }) => clients.note(limiter, key, limit, shadow),
  });
  const load = new ProcessLoad();
  const rates = new LiveRates();
  const watchers = new Watchers(intervalMs, snapshot, () => slots.history());
  const changes = new RecentChanges(events, () => {
    monitor.soon();
    watchers.soon();
  });
  const slots = new TrafficSlots(
    {
      totals: () => metrics.totals(),
      failures: (service, backend) => errors.failures(service, backend),
      lagMs: () => load.turn(),
    },
    () => watchers.slotEnded(),
  );

  const failedAttempts = new RecentCounts();
  const peers = new ForwardedPeers();
  const warnings = new ProcessWarnings();
  const reading = new Reading(metrics, { limiters, breakers, proxies: sources.proxies ?? [], routers });
  const parts = { ...reading.sources, events, load, errors, failedAttempts, peers, warnings };
  const report = (event: ProblemEvent): void => {
    events.emit('problem', event);
    watchers.soon();
  };
  const monitor = new ProblemMonitor([...watchKinds(TRAFFIC_PROBLEMS, parts), ...more], report, {
    begins() {
      reading.forget();
      // Without an open page, the next status would show the connections as of the last one.
      load.lookAtServers();
    },
    ended: () => {
      failedAttempts.turn();
      peers.turn();
    },
  });
  metrics.showProblems?.(monitor.kinds, () => monitor.problems);

  function snapshot(): StatusSnapshot {
    const totals = metrics.totals();
    const rate = rates.read(totals, slots.latest);
    const routes = routeRows(routers, totals, slots.routes, rate);
    const loads = proxies().map((proxy) => proxy.load());
    const row = (status: ReturnType<typeof statuses>[number]): BackendRow => ({
      service: status.service,
      backend: status.backend,
      circuit: status.circuit,
      health: status.health,
      held: status.held,
      weight: status.weight,
      inFlight: status.inFlight,
      concurrency: concurrencyOf(status),
      requestsPerSecond: rate.of(status.service, status.backend),
      retryAfterMs: status.retryAfterMs,
      lastCheckAt: status.lastCheckAt,
      changedAt: changes.changedAt(status.service, status.backend),
      lastError: errors.last(status.service, status.backend),
      processes: 1,
      unavailableIn: status.available ? 0 : 1,
    });
    return {
      at: Date.now(),
      problems: monitor.problems,
      processes: [load.status()],
      load: {
        inFlight: loads.reduce((sum, { inFlight }) => sum + inFlight, 0),
        waiting: loads.reduce((sum, { waiting }) => sum + waiting, 0),
        retriesLeft: loads.reduce((sum, { retriesLeft }) => sum + retriesLeft, 0),
      },
      rates: rate.all(),
      backends: mergeRows(statuses().map(row)),
      routes: shownRoutes(routes),
      routeCount: routes.length,
      limiters: allLimiters(limiters, routers).map(({ name, mode }) => ({ name, mode })),
      breakers: allBreakers(breakers, routers).map((breaker) => ({
        name: breaker.name,
        state: breaker.state,
        retryAfterMs: breaker.retryAfterMs(),
      })),
      clients: clients.top(CLIENTS),
      changes: changes.list,
    };
  }

  return {
    snapshot,
    get problems() {
      return monitor.problems;
    },
    history: () => slots.history(),
    watch: (watcher) => watchers.add(watcher),
    countConnections: (server) => load.add(server),
    noteOperator: (subject, text) => changes.note('operator', subject, text, false),
    forgetClient: (key) => clients.forget(key),
    attempt(backend, _durationMs, service, outcome) {
      if (verdictOf(outcome) !== 'failure') return;
      const reason = outcome.kind === 'completed' ? responseOf(outcome) : (causeOf(outcome) ?? outcome.kind);
      failedAttempts.add(backendKey(service, backend), reason);
    },
    finished(request) {
      const { source, status, grpcStatus, service = '', backend } = request;
      peers.saw(request);
      const isError = source === 'backend' && (status >= 500 || isGrpcFailure(grpcStatus));
      if (isError && backend !== undefined) errors.answered(service, backend, responseOf(request));
    },
    close() {
      unsubscribe();
      for (const part of [monitor, warnings, watchers, changes, slots, load, errors]) part.close();
    },
  };
}

/** A failed call of gRPC has the status 200. */
const responseOf = ({ status, grpcStatus }: Pick<FinishedRequest, 'status' | 'grpcStatus'>): string =>
  status < 500 && grpcStatus !== undefined ? `grpc-status ${grpcStatus}` : String(status);

function concurrencyOf({ concurrency }: Pick<StatusBackend, 'concurrency'>): BackendRow['concurrency'] {
  if (concurrency === undefined) return undefined;
  const { limit, inFlight, limitedSince } = concurrency;
  return { limit, inFlight, limitedSince };
}
