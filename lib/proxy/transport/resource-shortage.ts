import { describeShortage, shortageOf } from '../../backends/health/gateway-resources.ts';
import type { GatewayEvents } from '../../core/events.ts';
import type { Rejected } from '../../core/outcome.ts';
import { warnOnceOf } from '../../core/warnings.ts';

/** What a client is told to wait: other connections end in the meantime. */
const RETRY_AFTER_MS = 1_000;
/** Between two reports of the same shortage. */
const REPORT_EVERY_MS = 10_000;

/** The outcome of an attempt that failed because the gateway itself lacks something; nothing for other errors. */
export function shortageOutcome(error: Error): Rejected | undefined {
  if (shortageOf(error) === undefined) return undefined;
  return { kind: 'rejected', cause: 'gateway_resources', retryAfterMs: RETRY_AFTER_MS, error };
}

/** Tells the operator of what a gateway lacks, and not for every request. */
export class ResourceShortages {
  readonly #events: GatewayEvents;
  readonly #proxy: string;
  /** `Date.now()` of the last report, by code. */
  readonly #reportedAt = new Map<string, number>();

  /** @param proxy Name of the proxy. */
  constructor(events: GatewayEvents, proxy: string) {
    this.#events = events;
    this.#proxy = proxy;
  }

  noticed(error: Error): void {
    const code = shortageOf(error);
    if (code === undefined) return;
    const description = describeShortage(code);
    const message = `The gateway could not connect to a backend, and answered 503 (gateway_resources). ${description}`;
    warnOnceOf(this, 'WARN_EXPRESSWAY_RESOURCES', message, code);
    const now = Date.now();
    if (Math.abs(now - (this.#reportedAt.get(code) ?? 0)) < REPORT_EVERY_MS) return;
    this.#reportedAt.set(code, now);
    this.#events.emit('resourceShortage', { proxy: this.#proxy, code, description, error });
  }
}
