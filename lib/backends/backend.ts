import type { Circuit, Permit } from '../circuit-breaker/circuit.ts';
import type { CircuitStateName, HealthVerdict } from '../core/events.ts';
import type { FailureCause, Verdict } from '../core/outcome.ts';
import { type BackendConfig, identityOf } from './backend-url.ts';
import { Health } from './health/health.ts';
import { type OperatorState, OperatorSwitch } from './operator-state.ts';
import { LatencyEstimate } from './selection/latency-estimate.ts';
import type { BackendView } from './selection/selection-policy.ts';
import { SlowStart } from './selection/slow-start.ts';
import { TimeoutBlame } from './timeout-blame.ts';

/** Longest wait, in milliseconds, between two connections that are tried to a backend that is away. */
export const AWAY_RETRY_MS = 2_000;

/** What an operator sees of one backend. */
export interface BackendStatus {
  /** Its origin, `http://host:port`. */
  readonly backend: string;
  readonly circuit: CircuitStateName;
  /** What the active checks say of it; `unhealthy` ones are in use where too few others are left. */
  readonly health: HealthVerdict;
  /** `Date.now()` at the end of the latest check, if there was any. */
  readonly lastCheckAt: number | undefined;
  readonly weight: number;
  /** Its weight, or a part of it while it is on its slow start. */
  readonly effectiveWeight: number;
  /** Whether it would be picked now. */
  readonly available: boolean;
  /** Requests that it is answering now. */
  readonly inFlight: number;
  /** Milliseconds until its circuit admits a trial, or its rest is over; at least 1 000 when that hangs on a check. */
  readonly retryAfterMs: number;
  /** Set while an operator keeps it out. */
  readonly held: OperatorState | undefined;
}

/** What selection wants of a backend beside its being available. */
export interface SelectionNeeds {
  /** Milliseconds of its slow start; 0 for none. */
  readonly slowStartMs: number;
  readonly observesLatency: boolean;
  /** Requests that it may answer at a time; 0 for any number. */
  readonly maxRequests?: number;
  /** Told when one of its requests has ended. */
  readonly freed?: (() => void) | undefined;
}

/** One server behind the gateway: the run-time state of it, not its configuration. */
export class Backend implements BackendView {
  readonly url: URL;
  readonly origin: string;
  readonly identity: string;
  /** The name, or the address, that its certificate must be for. */
  readonly serverName: string;
  readonly circuit: Circuit;
  readonly health = new Health();
  /** Decides which response timeouts count against it. */
  readonly timeouts: TimeoutBlame;
  /** Why its latest failed request failed. Written by whoever releases the place, before that. */
  lastFailure: FailureCause | undefined;
  /** Whether its circuit is open, and connections to it are refused: no process is there. Written by the return watch. */
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
    if (this.#latency === undefined && this.#slowStart === undefined) return;
    circuit.onStateChange((_from, to) => {
      if (to === 'closed') this.returned();
    });
  }

  /** It was not there, or not in use, and is now: starts slowly where that is wanted. */
  returned(): void {
    this.#slowStart?.begin();
    this.#latency?.forget();
  }

  /** Takes over what may change while it stays in the pool. */
  configure(config: BackendConfig): void {
    if (this.#weight === 0 && config.weight > 0) this.returned();
    this.#weight = config.weight;
    this.keepAlive = config.keepAlive !== false;
    this.#authority = authorityOf(config);
  }

  /** Gets no new request; what it has goes on. */
  drain(): void {
    this.#hold.drain();
  }

  /** Gets no new request, and what its running ones come to counts for nothing: its circuit begins anew when restored. */
  isolate(): void {
    this.#hold.isolate();
  }

  /** Ends `drain()` and `isolate()`. As after those, the pool must give policies another array: its weight has changed. */
  restore(): void {
    if (this.#hold.lift()) this.returned();
  }

  /** What it would be asked as by somebody who came to it directly. */
  get authority(): string {
    return this.#authority;
  }

  /** 0 as well while an operator keeps it out. */
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

  /** The only question that a selection policy may ask; it may read numbers beside. */
  isAvailable(): boolean {
    return this.#inFlight < this.#maxRequests && this.#isUsable();
  }

  isOnlyFull(): boolean {
    return this.#inFlight >= this.#maxRequests && this.#isUsable();
  }

  #isUsable(): boolean {
    return this.weight > 0 && this.health.allowsTraffic && this.circuit.isAvailable();
  }

  /** Milliseconds until it may be available again, as far as that is known; 0 when only its weight keeps it out. */
  retryAfterMs(): number {
    const circuitMs = this.circuit.retryAfterMs();
    return Math.max(this.isAway ? Math.min(circuitMs, AWAY_RETRY_MS) : circuitMs, this.health.waitMs());
  }

  /** Enters the circuit and counts one request in flight; nothing when the circuit refuses. */
  acquire(): Place | undefined {
    const permit = this.circuit.tryAcquire();
    if (permit === undefined) return undefined;
    this.#inFlight += 1;
    return new Place(permit, this.#release, this.#latency);
  }

  /**
   * Counts one request in flight at a backend that is away: its circuit stays open whatever becomes of the request. For
   * when every other backend is out as well, since a refused connection costs nothing.
   */
  acquireAway(): Place {
    this.#inFlight += 1;
    return new Place(UNCOUNTED, this.#release, this.#latency);
  }

  /**
   * Another backend has responded to a request whose timeout here was `repeated`: now it counts, unless this backend has shown a
   * sign of life since, or its circuit is not closed.
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
      retryAfterMs: this.retryAfterMs(),
      held: this.#hold.state,
    };
  }

  readonly #release = (): void => {
    this.#inFlight -= 1;
    this.#freed?.();
  };
}

/** The permit of a request that passes an open circuit by. */
const UNCOUNTED: Permit = Object.freeze({ isTrial: false, settle: () => {} });

/** What a backend is asked as by somebody who comes to it directly. */
export function authorityOf({ url, name }: BackendConfig): string {
  return name === undefined ? url.host : name + (url.port && `:${url.port}`);
}

/** One request's place at a backend. */
export class Place {
  readonly #permit: Permit;
  #release: (() => void) | undefined;
  readonly #latency: LatencyEstimate | undefined;
  /** Since when the backend is waited for, by the clock of latencies; NaN while it is not. */
  #waitingSince = Number.NaN;

  constructor(permit: Permit, release: () => void, latency?: LatencyEstimate) {
    this.#permit = permit;
    this.#release = release;
    this.#latency = latency;
  }

  /** A trial's verdict is due at the head of the answer: a long download must not hold up recovery. */
  get isTrial(): boolean {
    return this.#permit.isTrial;
  }

  /** Tells the circuit how it went, once; the request stays in flight until `release()`. */
  settle(verdict: Verdict): void {
    this.answered();
    this.#permit.settle(verdict);
  }

  /** The request is out, with all its content: until then it took the client's time, not the backend's. */
  sent(): void {
    if (this.#latency !== undefined) this.#waitingSince = performance.now();
  }

  /** The head of the answer is here. */
  answered(): void {
    if (this.#latency === undefined || Number.isNaN(this.#waitingSince)) return;
    this.#latency.observe(performance.now() - this.#waitingSince);
    this.#waitingSince = Number.NaN;
  }

  /** Ends the request; a verdict given before stands. */
  release(verdict: Verdict): void {
    this.#permit.settle(verdict);
    if (this.#latency !== undefined && this.#release !== undefined) this.#observeEnd(this.#latency, verdict);
    this.#release?.();
    this.#release = undefined;
  }

  #observeEnd(latency: LatencyEstimate, verdict: Verdict): void {
    const waitedMs = Number.isNaN(this.#waitingSince) ? 0 : performance.now() - this.#waitingSince;
    if (verdict === 'failure') latency.observeFailure(waitedMs);
    else latency.observeAtLeast(waitedMs);
  }
}
