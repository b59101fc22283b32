import { type GatewayEvents, subscribe } from '../../core/gateway-events.ts';
import { causeOf, type Outcome } from '../../core/outcome.ts';
import { printable } from '../access-log/redaction.ts';
import { backendKey } from '../metrics/counts.ts';
import type { LastError } from './status-snapshot.ts';

const MAX_TEXT = 200;
/** Number of backends above which removed ones are dropped. */
const PRUNE_AT = 64;

interface Record {
  failures: number;
  last: LastError | undefined;
}

/** Errors of each backend. A successful request causes none. */
export class BackendErrors {
  readonly #known: () => ReadonlySet<string>;
  readonly #records = new Map<string, Record>();
  readonly #unsubscribe: () => void;
  #pruneAt = PRUNE_AT;

  /** @param known The keys of all present backends. */
  constructor(events: GatewayEvents, known: () => ReadonlySet<string>) {
    this.#known = known;
    this.#unsubscribe = subscribe(events, {
      attemptFailed: ({ service, backend, outcome }) => this.#note(backendKey(service, backend), describe(outcome), 1),
      healthChecked: ({ service, backend, error }) => {
        if (error !== undefined) this.#note(backendKey(service, backend), `health check: ${error.message}`, 0);
      },
    });
  }

  /** A response of the backend that went to the client. */
  answered(service: string, backend: string, status: string): void {
    this.#note(backendKey(service, backend), `responded with ${status}`, 1);
  }

  last(service: string, backend: string): LastError | undefined {
    return this.#records.get(backendKey(service, backend))?.last;
  }

  /** Attempts that failed and responses of 5xx since the start. */
  failures(service: string, backend: string): number {
    return this.#records.get(backendKey(service, backend))?.failures ?? 0;
  }

  close(): void {
    this.#unsubscribe();
  }

  #note(key: string, text: string, failures: number): void {
    let record = this.#records.get(key);
    if (record === undefined) {
      if (this.#records.size >= this.#pruneAt) this.#prune();
      record = { failures: 0, last: undefined };
      this.#records.set(key, record);
    }
    record.failures += failures;
    record.last = { at: Date.now(), text: printable(text, MAX_TEXT) };
  }

  #prune(): void {
    const known = this.#known();
    for (const key of this.#records.keys()) if (!known.has(key)) this.#records.delete(key);
    this.#pruneAt = Math.max(PRUNE_AT, 2 * this.#records.size);
  }
}

function describe(outcome: Outcome): string {
  if (outcome.kind === 'completed') return `responded with ${outcome.status}`;
  if (outcome.kind === 'failed') return `${outcome.cause}: ${outcome.error.message}`;
  return causeOf(outcome) ?? outcome.kind;
}
