import type { Circuit } from '../circuit-breaker/circuit.ts';
import type { CircuitStateName, HealthVerdict } from '../core/events.ts';
import type { FailureCause } from '../core/outcome.ts';
import { type BackendConfig, identityOf } from './backend-url.ts';
import { ConcurrencyLimit } from './concurrency-limit.ts';
import type { AdaptiveConcurrencyOptions } from './concurrency-options.ts';
import { Health } from './health/health.ts';
import { type OperatorState, OperatorSwitch } from './operator-state.ts';
import { LatencyEstimate } from './selection/latency-estimate.ts';
import type { BackendView } from './selection/selection-policy.ts';
import { SlowStart } from './selection/slow-start.ts';
import { Slot, UNCOUNTED } from './slot.ts';
import { TimeoutBlame } from './timeout-blame.ts';

/** Longest pause, in milliseconds, between two connection attempts to a backend that refuses connections. */
export const AWAY_RETRY_MS = 2_000;

/** State of one backend, for operators. */
export interface BackendStatus {
  /** Its origin, `http://host:port`. */
  readonly backend: string;
  readonly circuit: CircuitStateName;
  /** Verdict of the active checks. An `unhealthy` backend stays in use if too few others are left. */
  readonly health: HealthVerdict;
  /** `Date.now()` at the end of the latest check; `undefined` before the first one. */
  readonly lastCheckAt: number | undefined;
  readonly weight: number;
  /** Its weight, or a part of it during its slow start. */
  readonly effectiveWeight: number;
  /** Whether it may be picked now. */
  readonly available: boolean;
  /** Requests in flight at it. */
  readonly inFlight: number;
  /** Its adaptive limit; `undefined` if `adaptiveConcurrency` is off. */
  readonly concurrency: BackendConcurrency | undefined;
  /** Milliseconds until its circuit admits a trial, or its rest is over; at least 1 000 when that depends on a check. */
  readonly retryAfterMs: number;
  /** Set while an operator keeps it out. */
  readonly held: OperatorState | undefined;
}

/** The adaptive limit of one backend, and the requests that wait for its response heads. */
export interface BackendConcurrency {
  readonly limit: number;
  readonly inFlight: number;
  /** Milliseconds to a response head without load; 0 while that is unknown. */
  readonly unloadedMs: number;
  /** `Date.now()` since when requests keep reaching the limit; `undefined` if none has in the last ten seconds. */
  readonly limitedSince: number | undefined;
}

/** The settings that a proxy gives each of its backends. */
export interface SelectionNeeds {
  /** Milliseconds of its slow start; 0 for none. */
  readonly slowStartMs: number;
  readonly observesLatency: boolean;
  /** Requests that it may have in flight; 0 for any number. */
  readonly maxRequests?: number;
  /** Its adaptive limit; `undefined` for none. */
  readonly concurrency?: Required<AdaptiveConcurrencyOptions> | undefined;
  /** Called when the backend may take one more request. */
  readonly freed?: (() => void) | undefined;
}

/** The run-time state of one server behind the gateway. */
export class Backend implements BackendView {
  readonly url: URL;
  readonly origin: string;
  readonly identity: string;
  /** The name or address that its certificate must be for. */
  readonly serverName: string;
  readonly circuit: Circuit;
  readonly health = new Health();
  /** Decides which response timeouts count against it. */
  readonly timeouts: TimeoutBlame;
  /** Why its latest failed request failed. Set before that request's slot is released. */
  lastFailure: FailureCause | undefined;
  /** Whether its circuit is open and it refuses connections, because its process does not run. The return watch writes this. */
  isAway = false;
  readonly #hold: OperatorSwitch;
  readonly #maxRequests: number;
  readonly #freed: (() => void) | undefined;
  #inFlight = 0;

  /** Whether its connections are used for more than one request. */
  keepAlive = true;
  #weight: number;
  #authority: string;
  readonly #slowStart: SlowStart | undefined;
  readonly #latency: LatencyEstimate | undefined;
  readonly #concurrency: ConcurrencyLimit | undefined;

  constructor(config: BackendConfig, circuit: Circuit, needs?: SelectionNeeds) {
    this.url = config.url;
    this.origin = config.url.origin;
    this.identity = identityOf(config);
    this.serverName = config.name ?? config.url.hostname;
    this.#authority = authorityOf(config);
    this.circuit = circuit;
    this.timeouts = new TimeoutBlame(circuit);
    this.#hold = new OperatorSwitch(circuit);
    this.#weight = config.weight;
    this.keepAlive = config.keepAlive !== false;
    this.#maxRequests = needs?.maxRequests || Number.POSITIVE_INFINITY;
    this.#freed = needs?.freed;
    if (needs?.observesLatency === true) this.#latency = new LatencyEstimate();
    if (needs !== undefined && needs.slowStartMs > 0) this.#slowStart = new SlowStart(needs.slowStartMs);
    if (needs?.concurrency !== undefined) this.#concurrency = new ConcurrencyLimit(needs.concurrency, needs.freed);
    if ((this.#latency ?? this.#slowStart ?? this.#concurrency) === undefined) return;
    circuit.onStateChange((_from, to) => {
      if (to === 'closed') this.returned();
    });
  }

  /** Call it when the backend is back in use. Begins its slow start, and forgets its measurements. */
  returned(): void {
    this.#slowStart?.begin();
    this.#latency?.forget();
    this.#concurrency?.forget();
  }

  /** Sets the options that may change while it stays in the pool. */
  configure(config: BackendConfig): void {
    if (this.#weight === 0 && config.weight > 0) this.returned();
    this.#weight = config.weight;
    this.keepAlive = config.keepAlive !== false;
    this.#authority = authorityOf(config);
  }

  /** Sends it no new request. Its running requests go on. */
  drain(): void {
    this.#hold.drain();
  }

  /** Sends it no new request, and ignores the outcomes of its running requests. `restore()` closes its circuit. */
  isolate(): void {
    this.#hold.isolate();
  }

  /** Ends `drain()` and `isolate()`. After all three the pool must give policies a new array, because the weight has changed. */
  restore(): void {
    if (this.#hold.lift()) this.returned();
  }

  /** Host and port that a client would name in a request directly to it. */
  get authority(): string {
    return this.#authority;
  }

  /** Its configured weight; 0 while an operator keeps it out. */
  get weight(): number {
    return this.#hold.state === undefined ? this.#weight : 0;
  }

  get effectiveWeight(): number {
    return this.#slowStart === undefined ? this.weight : this.weight * this.#slowStart.share;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get latencyMs(): number {
    return this.#latency === undefined ? 0 : this.#latency.ms;
  }

  /** The only method that decides whether a selection policy may pick it. */
  isAvailable(): boolean {
    return this.#inFlight < this.#maxRequests && this.#concurrency?.hasRoom !== false && this.#isUsable();
  }

  isOnlyFull(): boolean {
    return (this.#inFlight >= this.#maxRequests || this.#concurrency?.hasRoom === false) && this.#isUsable();
  }

  /** Whether it is full because of its adaptive limit. */
  isAtLimit(): boolean {
    return this.#concurrency?.hasRoom === false && this.#isUsable();
  }

  #isUsable(): boolean {
    return this.weight > 0 && this.health.allowsTraffic && this.circuit.isAvailable();
  }

  /** Milliseconds until it may be available again; 0 when only its weight keeps it out. */
  retryAfterMs(): number {
    const circuitMs = this.circuit.retryAfterMs();
    return Math.max(this.isAway ? Math.min(circuitMs, AWAY_RETRY_MS) : circuitMs, this.health.waitMs());
  }

  /** Enters the circuit and counts one request in flight; `undefined` when the circuit rejects it. */
  acquire(): Slot | undefined {
    const permit = this.circuit.tryAcquire();
    if (permit === undefined) return undefined;
    this.#inFlight += 1;
    return new Slot(permit, this.#release, this.#latency, this.#concurrency);
  }

  /**
   * Counts one request in flight at a backend that is away. Its circuit stays open, however the request ends. Used only when no backend is
   * available, because a refused connection costs little.
   */
  acquireAway(): Slot {
    this.#inFlight += 1;
    return new Slot(UNCOUNTED, this.#release, this.#latency, this.#concurrency);
  }

  /**
   * Counts a `repeated` timeout, because another backend has responded to the same request. It does not count if this backend has shown a sign
   * of life since, or if its circuit is not closed.
   */
  confirmTimeout(signsBefore: number): void {
    if (this.timeouts.signsOfLife === signsBefore && this.circuit.state === 'closed')
      this.circuit.tryAcquire()?.settle('failure');
  }

  status(): BackendStatus {
    return {
      backend: this.origin,
      circuit: this.circuit.state,
      health: this.health.verdict,
      lastCheckAt: this.health.lastCheckAt,
      weight: this.#weight,
      effectiveWeight: this.effectiveWeight,
      available: this.isAvailable(),
      inFlight: this.#inFlight,
      concurrency: this.#concurrencyNow(),
      retryAfterMs: this.retryAfterMs(),
      held: this.#hold.state,
    };
  }

  #concurrencyNow(): BackendConcurrency | undefined {
    if (this.#concurrency === undefined) return undefined;
    const { limit, inFlight, unloadedMs, limitedSince } = this.#concurrency;
    return { limit, inFlight, unloadedMs, limitedSince };
  }

  readonly #release = (): void => {
    this.#inFlight -= 1;
    this.#freed?.();
  };
}

/** Host and port that a client would name in a request directly to the backend. */
export function authorityOf({ url, name }: BackendConfig): string {
  return name === undefined ? url.host : name + (url.port && `:${url.port}`);
}
