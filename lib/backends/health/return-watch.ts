import type { FailureCause } from '../../core/outcome.ts';
import { AWAY_RETRY_MS, type Backend } from '../backend.ts';
import type { MembershipChange } from '../backend-pool.ts';

/** Milliseconds from the opening of the circuit to the first connection attempt; each pause is twice as long as the one before. */
const FIRST_MS = 100;

/** Connects to a backend and closes the connection without a request. Resolves with the cause when it could not connect. */
export type TryConnection = (backend: Backend) => Promise<FailureCause | undefined>;

/**
 * Notices when a backend accepts connections again. While the circuit is open, it keeps trying to connect, because a refused connection costs
 * the backend nothing. When a connection succeeds after a refused one, the circuit closes at once. No client's request takes part in this.
 * Circuits that opened because of responses and timeouts stay open: there the pause protects the backend.
 */
export class ReturnWatch {
  readonly #tryConnection: TryConnection;
  readonly #returned: (backend: Backend) => void;
  readonly #watches = new Map<Backend, Watch>();

  /** @param returned Called when a backend that was away accepts connections. */
  constructor(tryConnection: TryConnection, returned: (backend: Backend) => void) {
    this.#tryConnection = tryConnection;
    this.#returned = returned;
  }

  membershipChanged({ added, removed }: MembershipChange): void {
    for (const backend of removed) {
      this.#watches.get(backend)?.close();
      this.#watches.delete(backend);
    }
    for (const backend of added) {
      this.#watches.set(backend, new Watch(backend, this.#tryConnection, this.#returned));
    }
  }

  close(): void {
    for (const watch of this.#watches.values()) watch.close();
    this.#watches.clear();
  }
}

/** Watches one backend, and writes its `isAway`. */
class Watch {
  readonly #backend: Backend;
  readonly #tryConnection: TryConnection;
  readonly #returned: (backend: Backend) => void;
  readonly #unsubscribe: () => void;
  #timer: NodeJS.Timeout | undefined;
  /** Whether a connection attempt found no machine or no process. */
  #wasMissing = false;
  /** Counts the openings of the circuit: the result of an attempt from an earlier one is ignored. */
  #opening = 0;

  constructor(backend: Backend, tryConnection: TryConnection, returned: (backend: Backend) => void) {
    this.#backend = backend;
    this.#tryConnection = tryConnection;
    this.#returned = returned;
    this.#unsubscribe = backend.circuit.onStateChange((_from, to) => {
      this.#stop();
      if (to === 'open') this.#opened();
    });
  }

  close(): void {
    this.#unsubscribe();
    this.#stop();
  }

  #stop(): void {
    this.#opening += 1;
    clearTimeout(this.#timer);
    this.#wasMissing = false;
    this.#backend.isAway = false;
  }

  #opened(): void {
    const { lastFailure } = this.#backend;
    this.#note(lastFailure);
    // A killed process first resets its connections, and refuses new ones afterwards.
    if (this.#wasMissing || lastFailure === 'connection_terminated') this.#tryAfter(FIRST_MS);
  }

  #note(cause: FailureCause | undefined): void {
    this.#backend.isAway = cause === 'connection_refused';
    this.#wasMissing ||= this.#backend.isAway || cause === 'destination_ip_unroutable';
  }

  #tryAfter(waitMs: number): void {
    const opening = this.#opening;
    this.#timer = setTimeout(async () => {
      const cause = await this.#tryConnection(this.#backend);
      if (opening === this.#opening) this.#tried(cause, waitMs);
    }, waitMs).unref();
  }

  #tried(cause: FailureCause | undefined, waitedMs: number): void {
    if (cause !== undefined) {
      this.#note(cause);
      this.#tryAfter(Math.min(AWAY_RETRY_MS, 2 * waitedMs));
    } else if (this.#wasMissing) {
      this.#returned(this.#backend);
    }
  }
}
