import type { BackendRow, BreakerRow, LimiterRow, RouteCircuit } from './status-snapshot.ts';

/** The worst first. */
const CIRCUITS = ['isolated', 'open', 'half-open', 'closed'] as const;
const HEALTH = ['unhealthy', 'unknown', 'healthy'] as const;
const HOLDS = ['isolated', 'drained', undefined] as const;
const MODES = ['closed', 'open', 'local', 'redis', 'memory'] as const;

/** The worst of the states of several processes. */
function worst<T>(order: readonly T[], values: readonly T[]): T {
  return order[Math.min(...values.map((value) => order.indexOf(value)))] as T;
}

export const worstCircuit = (all: readonly BackendRow['circuit'][]): BackendRow['circuit'] => worst(CIRCUITS, all);
export const worstHealth = (all: readonly BackendRow['health'][]): BackendRow['health'] => worst(HEALTH, all);
export const worstHold = (all: readonly BackendRow['held'][]): BackendRow['held'] => worst(HOLDS, all);

/** One row for each limiter. */
export const mergeLimiters = (rows: readonly LimiterRow[]): LimiterRow[] =>
  byName(rows).map(([name, same]) => ({
    name,
    mode: worst(
      MODES,
      same.map(({ mode }) => mode),
    ),
  }));

/** One row for each circuit breaker. */
export const mergeBreakers = (rows: readonly BreakerRow[]): BreakerRow[] =>
  byName(rows).map(([name, same]) => ({ name, ...(mergeCircuits(same) as RouteCircuit) }));

/** Merges the circuits of several processes; `undefined` for an empty list. */
export function mergeCircuits(all: readonly RouteCircuit[]): RouteCircuit | undefined {
  if (all.length === 0) return undefined;
  return {
    state: worstCircuit(all.map(({ state }) => state)),
    retryAfterMs: Math.max(...all.map(({ retryAfterMs }) => retryAfterMs)),
  };
}

const byName = <T extends { readonly name: string }>(rows: readonly T[]): [string, T[]][] => [
  ...Map.groupBy(rows, ({ name }) => name),
];
