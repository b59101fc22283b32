import { backendKey } from '../metrics/counts.ts';
import { addAll } from '../metrics/traffic-totals.ts';
import { mergeProblems } from '../problems/problem-monitor.ts';
import { mergeBreakers, mergeLimiters, worstCircuit, worstHealth, worstHold } from './merge-states.ts';
import { mergeRoutes } from './route-rows.ts';
import type {
  BackendRow,
  BackendSeriesData,
  ConcurrencyStatus,
  StatusSnapshot,
  TrafficHistory,
  TrafficSlot,
} from './status-snapshot.ts';
import { mergeClients } from './top-clients.ts';
import { BACKEND_SLOTS, SLOTS } from './traffic-slots.ts';

const CLIENTS = 20;
const CHANGES = 20;

const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);

/** The latest of several times; `undefined` without any. */
function latest(values: readonly (number | undefined)[]): number | undefined {
  const known = values.filter((value) => value !== undefined);
  return known.length === 0 ? undefined : Math.max(...known);
}

/** Groups by name, in the order of first occurrence. */
function grouped<T>(rows: readonly T[], nameOf: (row: T) => string): T[][] {
  return [...Map.groupBy(rows, nameOf).values()];
}

/**
 * Merges the states of several processes of one gateway. Counts and rates are added; of states, the worst is taken. Does not change its
 * arguments.
 *
 * @throws {RangeError} for an empty list.
 */
export function mergeSnapshots(snapshots: readonly StatusSnapshot[]): StatusSnapshot {
  const [first] = snapshots;
  if (first === undefined) throw new RangeError('mergeSnapshots: at least one snapshot is needed');
  if (snapshots.length === 1) return first;
  const sum = (of: (snapshot: StatusSnapshot) => number): number => total(snapshots.map(of));
  return {
    at: Math.max(...snapshots.map(({ at }) => at)),
    problems: mergeProblems(snapshots.map(({ problems }) => problems)),
    processes: snapshots.flatMap(({ processes }) => processes),
    load: {
      inFlight: sum(({ load }) => load.inFlight),
      waiting: sum(({ load }) => load.waiting),
      retriesLeft: sum(({ load }) => load.retriesLeft),
    },
    rates: {
      requests: sum(({ rates }) => rates.requests),
      backendErrors: sum(({ rates }) => rates.backendErrors),
      gatewayErrors: sum(({ rates }) => rates.gatewayErrors),
      limited: sum(({ rates }) => rates.limited),
    },
    backends: mergeRows(snapshots.flatMap(({ backends }) => backends)),
    routes: mergeRoutes(snapshots.flatMap(({ routes }) => routes)),
    routeCount: Math.max(...snapshots.map(({ routeCount }) => routeCount)),
    limiters: mergeLimiters(snapshots.flatMap(({ limiters }) => limiters)),
    breakers: mergeBreakers(snapshots.flatMap(({ breakers }) => breakers)),
    clients: mergeClients(
      snapshots.flatMap(({ clients }) => clients),
      CLIENTS,
    ),
    changes: snapshots
      .flatMap(({ changes }) => changes)
      .sort((a, b) => b.at - a.at)
      .slice(0, CHANGES),
  };
}

const keyOf = ({ service, backend }: { readonly service: string; readonly backend: string }) =>
  backendKey(service, backend);

/** One row for each backend of each service. */
export const mergeRows = (rows: readonly BackendRow[]): BackendRow[] => grouped(rows, keyOf).map(mergedRow);

function mergedRow(rows: readonly BackendRow[]): BackendRow {
  const [first] = rows as [BackendRow, ...BackendRow[]];
  const sum = (of: (row: BackendRow) => number): number => total(rows.map(of));
  const errors = rows.map(({ lastError }) => lastError).filter((error) => error !== undefined);
  return {
    service: first.service,
    backend: first.backend,
    circuit: worstCircuit(rows.map(({ circuit }) => circuit)),
    health: worstHealth(rows.map(({ health }) => health)),
    held: worstHold(rows.map(({ held }) => held)),
    weight: first.weight,
    inFlight: sum(({ inFlight }) => inFlight),
    concurrency: mergeConcurrency(rows.flatMap(({ concurrency }) => concurrency ?? [])),
    requestsPerSecond: sum(({ requestsPerSecond }) => requestsPerSecond),
    retryAfterMs: Math.max(...rows.map(({ retryAfterMs }) => retryAfterMs)),
    lastCheckAt: latest(rows.map(({ lastCheckAt }) => lastCheckAt)),
    changedAt: latest(rows.map(({ changedAt }) => changedAt)),
    lastError: errors.sort((a, b) => b.at - a.at)[0],
    processes: sum(({ processes }) => processes),
    unavailableIn: sum(({ unavailableIn }) => unavailableIn),
  };
}

function mergeConcurrency(all: readonly ConcurrencyStatus[]): ConcurrencyStatus | undefined {
  if (all.length === 0) return undefined;
  const since = all.flatMap(({ limitedSince }) => limitedSince ?? []);
  return {
    limit: total(all.map(({ limit }) => limit)),
    inFlight: total(all.map(({ inFlight }) => inFlight)),
    limitedSince: since.length === 0 ? undefined : Math.min(...since),
  };
}

/**
 * Merges the histories of several processes: slots of the same time are added.
 *
 * @throws {RangeError} for an empty list.
 */
export function mergeHistories(histories: readonly TrafficHistory[]): TrafficHistory {
  const [first] = histories;
  if (first === undefined) throw new RangeError('mergeHistories: at least one history is needed');
  if (histories.length === 1) return first;
  const slots = grouped(
    histories.flatMap((history) => history.slots),
    ({ at }) => String(at),
  );
  const backendSlots = [...new Set(histories.flatMap((history) => history.backendSlots))].sort((a, b) => a - b);
  const kept = backendSlots.slice(-BACKEND_SLOTS);
  return {
    ...first,
    slots: slots
      .map(mergeSlots)
      .sort((a, b) => a.at - b.at)
      .slice(-SLOTS),
    backendSlots: kept,
    backends: mergeSeries(histories, kept),
  };
}

function mergeSlots(slots: readonly TrafficSlot[]): TrafficSlot {
  const sum = (of: (slot: TrafficSlot) => number): number => total(slots.map(of));
  const durations: number[] = [];
  for (const slot of slots) addAll(durations, slot.durations);
  return {
    at: (slots[0] as TrafficSlot).at,
    requests: sum(({ requests }) => requests),
    backendErrors: sum(({ backendErrors }) => backendErrors),
    gatewayErrors: sum(({ gatewayErrors }) => gatewayErrors),
    limited: sum(({ limited }) => limited),
    durations,
    loopLagMs: Math.max(...slots.map(({ loopLagMs }) => loopLagMs)),
  };
}

function mergeSeries(histories: readonly TrafficHistory[], slots: readonly number[]): BackendSeriesData[] {
  const placed = histories.flatMap(({ backendSlots, backends }) =>
    backends.map((series) => ({
      service: series.service,
      backend: series.backend,
      requests: slots.map((at) => series.requests[backendSlots.indexOf(at)] ?? 0),
      totalMs: slots.map((at) => series.totalMs[backendSlots.indexOf(at)] ?? 0),
      failures: slots.map((at) => series.failures[backendSlots.indexOf(at)] ?? 0),
    })),
  );
  return grouped(placed, keyOf).map((rows) => {
    const merged = { requests: [], totalMs: [], failures: [] } as Record<'requests' | 'totalMs' | 'failures', number[]>;
    for (const row of rows) {
      addAll(merged.requests, row.requests);
      addAll(merged.totalMs, row.totalMs);
      addAll(merged.failures, row.failures);
    }
    const { service, backend } = rows[0] as BackendSeriesData;
    return { service, backend, ...merged };
  });
}
