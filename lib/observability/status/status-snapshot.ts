import type { CircuitStateName, GatewayProblem, HealthVerdict, LimiterMode } from '../../core/events.ts';

export type HoldName = 'drained' | 'isolated';

/** One process, and how much headroom it has. */
export interface ProcessStatus {
  /** Its number among the workers of a gateway, from 1; nothing without workers. */
  readonly worker?: number | undefined;
  readonly pid: number;
  readonly node: string;
  readonly uptimeMs: number;
  /** The part of its time, from 0 to 1, that the event loop was busy. */
  readonly loopBusy: number;
  /** 99th percentile of how late timers were: since the slot began, or in the slot before if that is more. */
  readonly loopLagMs: number;
  /** The longest that the event loop stood still, in the same time. */
  readonly loopMaxMs: number;
  readonly rssBytes: number;
  readonly heapUsedBytes: number;
  /** What V8 will not exceed. */
  readonly heapLimitBytes: number;
  readonly connections: number;
  /** 0 for any number. */
  readonly maxConnections: number;
}

/** How much the gateway works on at the moment. */
export interface LoadStatus {
  readonly inFlight: number;
  readonly waiting: number;
  readonly retriesLeft: number;
}

/** Rates of the last seconds: requests a second, so that those of several processes add up. */
export interface RateStatus {
  readonly requests: number;
  /** Responses of 5xx, and cut ones, that backends are to blame for. */
  readonly backendErrors: number;
  /** Those that the gateway is to blame for. */
  readonly gatewayErrors: number;
  readonly limited: number;
}

export interface LastError {
  readonly at: number;
  readonly text: string;
}

/** The adaptive limit of one backend; of several processes, all of them together. */
export interface ConcurrencyStatus {
  /** Requests that may wait for a response head. */
  readonly limit: number;
  /** Requests that do. */
  readonly inFlight: number;
  /** Since when the limit has been reached again and again; nothing when it was not in the last ten seconds. */
  readonly limitedSince: number | undefined;
}

/** One backend; of several processes, the worst that any of them says. */
export interface BackendRow {
  /** Name of the proxy that has it. */
  readonly proxy: string;
  readonly backend: string;
  readonly circuit: CircuitStateName;
  readonly health: HealthVerdict;
  readonly held: HoldName | undefined;
  readonly weight: number;
  readonly inFlight: number;
  /** Nothing without `adaptiveConcurrency`. */
  readonly concurrency: ConcurrencyStatus | undefined;
  readonly requestsPerSecond: number;
  readonly retryAfterMs: number;
  readonly lastCheckAt: number | undefined;
  /** When its circuit or health last changed, if that was seen. */
  readonly changedAt: number | undefined;
  readonly lastError: LastError | undefined;
  /** Processes that know it, and those of them that would not pick it now. */
  readonly processes: number;
  readonly unavailableIn: number;
}

/** The circuit of a whole route; of several processes, the worst that any of them says. */
export interface RouteCircuit {
  readonly state: CircuitStateName;
  readonly retryAfterMs: number;
}

/** One route; of several processes, all together. */
export interface RouteRow {
  readonly route: string;
  /** Which requests it takes; empty when only its name is known. */
  readonly match: string;
  /** The services behind it, or what it responds with; empty when only its name is known. */
  readonly target: string;
  /** The limits that a request must pass. */
  readonly limits: readonly string[];
  /** Its own circuit; nothing without the option `circuit`. */
  readonly circuit: RouteCircuit | undefined;
  /** What counts for its limits. */
  readonly limiters: readonly LimiterRow[];
  readonly requestsPerSecond: number;
  /** Requests of the last five minutes. */
  readonly requests: number;
  /** Those of them that got 5xx, or were cut. */
  readonly errors: number;
  /** Those of them that got 429 by the gateway. */
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
  /** What it is counted under: an address, a network, or the beginning of a key of the app's own, with a hash of it. */
  readonly key: string;
  readonly limiter: string;
  /** Refusals in the last 10 to 15 minutes: at most these, and at least `overcount` less. */
  readonly refused: number;
  readonly overcount: number;
  readonly lastAt: number;
  readonly limit: number;
  /** Whether it only would have been refused, were the limiter no shadow. */
  readonly shadow: boolean;
}

/** Something that an operator may have missed. */
export interface Change {
  readonly at: number;
  readonly kind: 'circuit' | 'health' | 'limiter' | 'backends' | 'discovery' | 'gateway' | 'operator' | 'problem';
  readonly subject: string;
  readonly text: string;
  readonly isBad: boolean;
  /** Name of the proxy that it is about, if it is about one. */
  readonly proxy?: string | undefined;
}

/** The state of a gateway at one moment. `mergeSnapshots()` makes one of those of several processes. */
export interface StatusSnapshot {
  readonly at: number;
  /** What an operator should know of, the worst first. */
  readonly problems: readonly GatewayProblem[];
  readonly processes: readonly ProcessStatus[];
  readonly load: LoadStatus;
  readonly rates: RateStatus;
  readonly backends: readonly BackendRow[];
  /** At most 200: those with errors first, then those with most requests. */
  readonly routes: readonly RouteRow[];
  /** How many routes there are. */
  readonly routeCount: number;
  /** Those of routes, too. */
  readonly limiters: readonly LimiterRow[];
  /** Those of routes, too. */
  readonly breakers: readonly BreakerRow[];
  readonly clients: readonly LimitedClient[];
  readonly changes: readonly Change[];
}

/** What happened in one slot of time. All of it adds up, save for the lag, of which the largest counts. */
export interface TrafficSlot {
  /** `Date.now()` at its start: a multiple of `slotMs`, so that the slots of several processes meet. */
  readonly at: number;
  readonly requests: number;
  readonly backendErrors: number;
  readonly gatewayErrors: number;
  readonly limited: number;
  /** Responses of backends by duration: one count for each of `boundsMs`, and one for what took longer. */
  readonly durations: readonly number[];
  readonly loopLagMs: number;
}

/** One backend in the latest slots, the last one first in time. */
export interface BackendSeriesData {
  /** Name of the proxy that has it. */
  readonly proxy: string;
  readonly backend: string;
  /** Attempts. */
  readonly requests: readonly number[];
  /** Milliseconds that they took, all together. */
  readonly totalMs: readonly number[];
  /** Failed attempts, and responses of 5xx. */
  readonly failures: readonly number[];
}

/** The last quarter of an hour, in slots of equal length. */
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
