import { ALGORITHMS } from '../../rate-limit/algorithms/registry.ts';
import type { SimulateOptions } from './simulate-options.ts';
import type { Simulation } from './simulation.ts';
import type { WindowSummary } from './window-counts.ts';

const iso = (time: number): string => new Date(time).toISOString();

/** One JSON object. Times are ISO 8601 in UTC, durations milliseconds. */
export function jsonReport(
  simulation: Simulation,
  windows: readonly WindowSummary[],
  options: SimulateOptions,
): string {
  const { requests, limited, clients, times, waits } = simulation;
  const report = {
    logs: options.logs,
    algorithm: options.algorithm,
    windows: options.quotas.map(({ limit, windowMs, burst }) =>
      ALGORITHMS[options.algorithm].isRefilled ? { limit, windowMs, burst } : { limit, windowMs },
    ),
    by: options.by,
    lines: {
      total: simulation.lines,
      bad: simulation.badCount,
      badShare: simulation.badShare,
      problems: Object.fromEntries(simulation.badCounts),
      examples: simulation.bad,
    },
    outOfOrder: { lines: simulation.outOfOrder, latestMs: simulation.latestMs },
    from: requests > 0 ? iso(simulation.firstAt) : null,
    to: requests > 0 ? iso(simulation.lastAt) : null,
    requests,
    limited,
    clients: clients.clients,
    limitedClients: clients.limitedClients,
    /** Whether there were more clients than `--max-keys`. */
    approximate: clients.full || simulation.meterFull,
    first: limited > 0 ? { at: iso(simulation.firstLimitedAt), client: simulation.firstLimitedClient } : null,
    top: clients.top(options.top).map(({ client, requests, limited, firstLimitedAt }) => ({
      client,
      requests,
      limited,
      firstLimitedAt: iso(firstLimitedAt),
    })),
    /** Requests per client and window, and what common limits would reject. */
    perClient: windows,
    overTime: {
      widthMs: times.widthMs,
      rows: times.rows.map(({ from, requests, limited }) => ({ from: iso(from), requests, limited })),
    },
    waits: {
      longestMs: waits.longestMs,
      rows: waits.rows.map(({ upToMs, count }) => ({ upToMs: Number.isFinite(upToMs) ? upToMs : null, count })),
    },
  };
  return `${JSON.stringify(report, null, 2)}\n`;
}
