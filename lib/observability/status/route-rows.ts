import { quantileMs } from '../metrics/histogram.ts';
import { addAll, type TrafficTotals } from '../metrics/traffic-totals.ts';
import { observabilityDefaults } from '../observability.ts';
import type { LiveRate } from './live-rates.ts';
import { mergeCircuits, mergeLimiters } from './merge-states.ts';
import type { RouteCounts } from './route-counts.ts';
import type { RouteRow } from './status-snapshot.ts';
import type { StatusRoute, StatusRouter } from './status-sources.ts';

/** Most routes that are shown. More would be too much to send each second, and to read. */
const MOST_ROUTES = 200;

/** Name for requests outside all routes, when there are routes. */
const OUTSIDE: Omit<StatusRoute, 'name'> = { match: 'requests that no route takes', target: '', limits: [] };
const NAME_ONLY: Omit<StatusRoute, 'name'> = { match: '', target: '', limits: [] };

/** The routes of the routers, and others that requests were counted under, such as those of the option `route`. */
export function routeRows(
  routers: readonly StatusRouter[],
  { routes }: TrafficTotals,
  counts: RouteCounts,
  rate: LiveRate,
): RouteRow[] {
  const known = new Map(routers.flatMap((router) => router.routes()).map((route) => [route.name, route]));
  const others = [...routes.keys()].filter((name) => !known.has(name));
  const isOutside = (name: string) => name === observabilityDefaults.route;
  // An app without routes has only this one.
  if (known.size === 0 && others.every(isOutside)) return [];
  for (const name of others) {
    // After a reload there may be names of removed routes.
    const isGone = routers.length > 0 && !isOutside(name);
    if (!isGone || rate.ofRoute(name) > 0) known.set(name, { name, ...(isOutside(name) ? OUTSIDE : NAME_ONLY) });
  }
  return [...known.values()].map(({ name, match, target, limits, circuit, limiters = [] }: StatusRoute) => {
    const recent = counts.recent(name, routes.get(name));
    const p95Ms = quantileMs(recent.durations, 0.95);
    return {
      route: name,
      match,
      target,
      limits,
      circuit: circuit && { state: circuit.state, retryAfterMs: circuit.retryAfterMs() },
      limiters: limiters.map((limiter) => ({ name: limiter.name, mode: limiter.mode })),
      requestsPerSecond: rate.ofRoute(name),
      ...recent,
      p95Ms,
    };
  });
}

/** Sorts the routes: those with an open circuit or errors first, then by number of requests. */
export const shownRoutes = (rows: readonly RouteRow[]): RouteRow[] =>
  [...rows]
    .sort((a, b) => outness(b) - outness(a) || b.errors - a.errors || b.requests - a.requests)
    .slice(0, MOST_ROUTES);

const outness = ({ circuit }: RouteRow): number => Number(circuit !== undefined && circuit.state !== 'closed');

/** One row for each route of several processes. */
export function mergeRoutes(rows: readonly RouteRow[]): RouteRow[] {
  const merged = [...Map.groupBy(rows, ({ route }) => route).values()].map((same): RouteRow => {
    const sum = (of: (row: RouteRow) => number): number => same.reduce((all, row) => all + of(row), 0);
    const durations: number[] = [];
    for (const row of same) addAll(durations, row.durations);
    return {
      ...(same[0] as RouteRow),
      circuit: mergeCircuits(same.flatMap(({ circuit }) => circuit ?? [])),
      limiters: mergeLimiters(same.flatMap(({ limiters }) => limiters)),
      requestsPerSecond: sum((row) => row.requestsPerSecond),
      requests: sum((row) => row.requests),
      errors: sum((row) => row.errors),
      limited: sum((row) => row.limited),
      durations,
      p95Ms: quantileMs(durations, 0.95),
    };
  });
  return shownRoutes(merged);
}
