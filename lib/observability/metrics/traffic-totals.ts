import { DURATION_BUCKETS } from './histogram.ts';

export interface BackendTotals {
  readonly service: string;
  readonly backend: string;
  readonly requests: number;
  readonly seconds: number;
  /** Responses by the time until their head: one count for each bound of `DURATION_BUCKETS`, and one for what took longer. */
  readonly heads: Float64Array;
}

export interface RouteTotals {
  readonly requests: number;
  /** Responses with 5xx, other than those that the route declares, and responses that were cut. */
  readonly errors: number;
  /** Requests that got 429 from the gateway. */
  readonly limited: number;
  /** Responses of backends by duration: one count for each bound of `DURATION_BUCKETS`, and one for what took longer. */
  readonly durations: Float64Array;
}

/** All counts of requests since the start; they only go up. */
export interface TrafficTotals {
  /** By origin of the response, then by class of status: no response, 1xx, 2xx, 3xx, 4xx, 5xx. */
  readonly responses: Readonly<Record<'gateway' | 'backend' | 'route', Float64Array>>;
  /** Responses of backends by duration: one count for each bound of `DURATION_BUCKETS`, and one for what took longer. */
  readonly durations: Float64Array;
  /** Requests without a complete response of a backend or the app, by cause. */
  readonly causes: Map<string, number>;
  readonly decisions: { readonly limiter: string; readonly decision: string; readonly count: number }[];
  /** Attempts and the seconds that they took, by `backendKey()`. */
  readonly backends: Map<string, BackendTotals>;
  /** Requests by name of the route. */
  readonly routes: Map<string, RouteTotals>;
}

/** Gives the totals, at no cost to any request. */
export interface TrafficSource {
  totals(): TrafficTotals;
  /**
   * Adds a metric of problems.
   *
   * @param kinds Names of all kinds.
   */
  showProblems?(kinds: readonly string[], problems: () => readonly { readonly problem: string }[]): void;
}

const CLASSES = 6;

const noDurations = (): Float64Array => new Float64Array(DURATION_BUCKETS.length + 1);

/** The totals of a route while they are added up. */
export type GrowingRouteTotals = { -readonly [K in keyof RouteTotals]: RouteTotals[K] };

// A type that TypeScript infers would be of TypeScript 5.7 and newer: `Float64Array<ArrayBuffer>`.
export const emptyRouteTotals = (limited: number): GrowingRouteTotals => ({
  requests: 0,
  errors: 0,
  limited,
  durations: noDurations(),
});

export const sum = (counts: Readonly<Float64Array>): number => counts.reduce((all, one) => all + one, 0);

export function emptyTotals(): TrafficTotals {
  return {
    responses: {
      gateway: new Float64Array(CLASSES),
      backend: new Float64Array(CLASSES),
      route: new Float64Array(CLASSES),
    },
    durations: noDurations(),
    causes: new Map(),
    decisions: [],
    backends: new Map(),
    routes: new Map(),
  };
}

/** Adds the numbers of one list to those of another, by index. */
export function addAll(sums: Float64Array | number[], more: ArrayLike<number>): void {
  for (let index = 0; index < more.length; index += 1) sums[index] = (sums[index] ?? 0) + (more[index] as number);
}
