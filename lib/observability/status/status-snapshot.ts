import type { CircuitStateName, GatewayProblem, HealthVerdict, LimiterMode } from '../../core/events.ts';

export type HoldName = 'drained' | 'isolated';

/** One process and its headroom. */
export interface ProcessStatus {
  /** Number of the worker, from 1; `undefined` without workers. */
  readonly worker?: number | undefined;
  readonly pid: number;
  readonly node: string;
  readonly uptimeMs: number;
  /** The part of its time, from 0 to 1, that the event loop was busy. */
  readonly loopBusy: number;
  /** 99th percentile of the delay of timers, in the present slot, or in the slot before if that is more. */
  readonly loopLagMs: number;
  /** Longest block of the event loop in the same time. */
  readonly loopMaxMs: number;
  readonly rssBytes: number;
  readonly heapUsedBytes: number;
  /** V8's limit for the heap. */
  readonly heapLimitBytes: number;
  readonly connections: number;
  /** 0 for no limit. */
  readonly maxConnections: number;
}

/** Requests in progress. */
export interface LoadStatus {
  readonly inFlight: number;
  readonly waiting: number;
  readonly retriesLeft: number;
}

/** Requests per second over the last seconds, so that those of several processes add up. */
export interface RateStatus {
  readonly requests: number;
  /** Responses with 5xx, and cut ones, that backends caused. */
  readonly backendErrors: number;
  /** Responses with 5xx, and cut ones, that the gateway caused. */
  readonly gatewayErrors: number;
  readonly limited: number;
}

export interface LastError {
  readonly at: number;
  readonly text: string;
}

/** The adaptive limit of one backend; for several processes, the sum. */
export interface ConcurrencyStatus {
  /** How many requests may wait for a response head. */
  readonly limit: number;
  /** How many requests wait for a response head. */
  readonly inFlight: number;
  /** `Date.now()` since when requests keep reaching the limit; `undefined` if none has in the last ten seconds. */
  readonly limitedSince: number | undefined;
}

/** One backend; for several processes, the worst state of any of them. */
export interface BackendRow {
  /** Name of the service that has it. */
  readonly service: string;
  readonly backend: string;
  readonly circuit: CircuitStateName;
  readonly health: HealthVerdict;
  readonly held: HoldName | undefined;
  readonly weight: number;
  readonly inFlight: number;
  /** `undefined` without `adaptiveConcurrency`. */
  readonly concurrency: ConcurrencyStatus | undefined;
  readonly requestsPerSecond: number;
  readonly retryAfterMs: number;
  readonly lastCheckAt: number | undefined;
  /** When its circuit or health last changed, if it has. */
  readonly changedAt: number | undefined;
  readonly lastError: LastError | undefined;
  /** Processes that have it, and those of them that would not pick it now. */
  readonly processes: number;
  readonly unavailableIn: number;
}

/** The circuit of a whole route; for several processes, the worst state of any of them. */
export interface RouteCircuit {
  readonly state: CircuitStateName;
  readonly retryAfterMs: number;
}

/** One route; for several processes, their sum. */
export interface RouteRow {
  readonly route: string;
  /** Which requests it matches; empty when only its name is known. */
  readonly match: string;
  /** Its services, or its fixed response; empty when only its name is known. */
  readonly target: string;
  /** The limits that a request must pass. */
  readonly limits: readonly string[];
  /** Its own circuit; `undefined` without the option `circuit`. */
  readonly circuit: RouteCircuit | undefined;
  /** Its limiters. */
  readonly limiters: readonly LimiterRow[];
  readonly requestsPerSecond: number;
  /** Requests of the last five minutes. */
  readonly requests: number;
  /** Of these, requests that got 5xx or were cut. */
  readonly errors: number;
  /** Of these, requests that got 429 from the gateway. */
  readonly limited: number;
  /** Responses of backends in the last five minutes by duration: one count for each of `boundsMs` of the history, and one for what took longer. */
  readonly durations: readonly number[];
  /** Milliseconds that 95 % of these responses did not exceed, estimated from `durations`. */
  readonly p95Ms: number | undefined;
}

export interface LimiterRow {
  readonly name: string;
  readonly mode: LimiterMode;
}

export interface BreakerRow {
  readonly name: string;
  readonly state: CircuitStateName;
  readonly retryAfterMs: number;
}

/** A client that was refused often. */
export interface LimitedClient {
  /** The key: an address, a network, or the beginning of the app's own key, with a hash of it. */
  readonly key: string;
  readonly limiter: string;
  /** Upper bound of the rejections in the last 10 to 15 minutes; the lower bound is `overcount` less. */
  readonly refused: number;
  readonly overcount: number;
  readonly lastAt: number;
  readonly limit: number;
  /** Whether the limiter is in shadow mode, so that the client was not really rejected. */
  readonly shadow: boolean;
}

/** A change of state, for the list of changes. */
export interface Change {
  readonly at: number;
  readonly kind: 'circuit' | 'health' | 'limiter' | 'backends' | 'discovery' | 'gateway' | 'operator' | 'problem';
  readonly subject: string;
  readonly text: string;
  readonly isBad: boolean;
  /** Name of the service that it concerns, if it concerns one. */
  readonly service?: string | undefined;
}

/** The state of a gateway at one moment. `mergeSnapshots()` merges those of several processes. */
export interface StatusSnapshot {
  readonly at: number;
  /** Present problems, the worst first. */
  readonly problems: readonly GatewayProblem[];
  readonly processes: readonly ProcessStatus[];
  readonly load: LoadStatus;
  readonly rates: RateStatus;
  readonly backends: readonly BackendRow[];
  /** At most 200: those with errors first, then those with most requests. */
  readonly routes: readonly RouteRow[];
  /** How many routes there are. */
  readonly routeCount: number;
  /** Including those of routes. */
  readonly limiters: readonly LimiterRow[];
  /** Including those of routes. */
  readonly breakers: readonly BreakerRow[];
  readonly clients: readonly LimitedClient[];
  readonly changes: readonly Change[];
}

/** The numbers of one time slot. Several processes are added, except for the lag, of which the largest counts. */
export interface TrafficSlot {
  /** `Date.now()` at its start: a multiple of `slotMs`, so that the slots of several processes coincide. */
  readonly at: number;
  readonly requests: number;
  readonly backendErrors: number;
  readonly gatewayErrors: number;
  readonly limited: number;
  /** Responses of backends by duration: one count for each of `boundsMs`, and one for what took longer. */
  readonly durations: readonly number[];
  readonly loopLagMs: number;
}

/** One backend in the latest slots. */
export interface BackendSeriesData {
  /** Name of the service that has it. */
  readonly service: string;
  readonly backend: string;
  /** Attempts. */
  readonly requests: readonly number[];
  /** Total milliseconds of these attempts. */
  readonly totalMs: readonly number[];
  /** Failed attempts, and responses with 5xx. */
  readonly failures: readonly number[];
}

/** The last 15 minutes, in slots of equal length. */
export interface TrafficHistory {
  readonly slotMs: number;
  /** How many slots are kept. */
  readonly length: number;
  readonly boundsMs: readonly number[];
  /** Oldest first. A slot without a record is missing. */
  readonly slots: readonly TrafficSlot[];
  /** The start of each slot of `backends`, oldest first. */
  readonly backendSlots: readonly number[];
  readonly backends: readonly BackendSeriesData[];
}
