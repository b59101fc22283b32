import type { Circuit, Permit } from '../circuit-breaker/circuit.ts';
import type { CircuitStateName } from '../core/events.ts';
import type { Verdict } from '../core/outcome.ts';
import type { BackendConfig } from './backend-url.ts';

/** What an operator sees of one backend. */
export interface BackendStatus {
  /** Its origin, `http://host:port`. */
  readonly backend: string;
  readonly circuit: CircuitStateName;
  readonly weight: number;
  /** Whether it would be picked now. */
  readonly available: boolean;
  /** Requests that it is answering now. */
  readonly inFlight: number;
  /** Milliseconds until its circuit admits a trial; 0 when available. */
  readonly retryAfterMs: number;
}

/** One server behind the gateway: the run-time state of it, not its configuration. */
export class Backend {
  readonly url: URL;
  readonly origin: string;
  readonly circuit: Circuit;
  #inFlight = 0;

  #weight: number;

  constructor(config: BackendConfig, circuit: Circuit) {
    this.url = config.url;
    this.origin = config.url.origin;
    this.circuit = circuit;
    this.#weight = config.weight;
  }

  /** Takes over what may change while it stays in the pool. */
  configure(config: BackendConfig): void {
    this.#weight = config.weight;
  }

  get weight(): number {
    return this.#weight;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  /** The only question that a selection policy may ask. */
  isAvailable(): boolean {
    return this.#weight > 0 && this.circuit.isAvailable();
  }

  /** Enters the circuit and counts one request in flight; nothing when the circuit refuses. */
  acquire(): Lease | undefined {
    const permit = this.circuit.tryAcquire();
    if (permit === undefined) return undefined;
    this.#inFlight += 1;
    return new Lease(permit, this.#release);
  }

  status(): BackendStatus {
    return {
      backend: this.origin,
      circuit: this.circuit.state,
      weight: this.#weight,
      available: this.isAvailable(),
      inFlight: this.#inFlight,
      retryAfterMs: this.circuit.retryAfterMs(),
    };
  }

  readonly #release = (): void => {
    this.#inFlight -= 1;
  };
}

/** One request's place at a backend. */
export class Lease {
  readonly #permit: Permit;
  #release: (() => void) | undefined;

  constructor(permit: Permit, release: () => void) {
    this.#permit = permit;
    this.#release = release;
  }

  /** A trial's verdict is due at the head of the answer: a long download must not hold up recovery. */
  get isTrial(): boolean {
    return this.#permit.isTrial;
  }

  /** Tells the circuit how it went, once; the request stays in flight until `release()`. */
  settle(verdict: Verdict): void {
    this.#permit.settle(verdict);
  }

  /** Ends the request; a verdict given before stands. */
  release(verdict: Verdict): void {
    this.#permit.settle(verdict);
    this.#release?.();
    this.#release = undefined;
  }
}
