import { DURATION_BUCKETS } from '../metrics/histogram.ts';
import { emptyTotals, type TrafficTotals } from '../metrics/traffic-totals.ts';
import { BackendSeries } from './backend-series.ts';
import { RouteCounts } from './route-counts.ts';
import type { TrafficHistory, TrafficSlot } from './status-snapshot.ts';
import { countsOf, difference } from './traffic-counts.ts';

/** Length of a slot; slots for 15 minutes; and slots for 5 minutes, for single backends and routes. */
const SLOT_MS = 10_000;
export const SLOTS = 90;
export const BACKEND_SLOTS = 30;

const EARLY_MS = 2;

const BOUNDS_MS: readonly number[] = DURATION_BUCKETS.map((seconds) => seconds * 1000);

/** The values that are read at the end of each slot. */
export interface SlotSources {
  totals(): TrafficTotals;
  /** Failures of one backend since the start. */
  failures(service: string, backend: string): number;
  /** The lag of the event loop in this slot. The call begins the next slot. */
  lagMs(): number;
}

/**
 * The history of the last 15 minutes. It reads the totals of the metrics every ten seconds, so it costs requests nothing.
 */
export class TrafficSlots {
  readonly #sources: SlotSources;
  readonly #ended: () => void;
  readonly #slots: TrafficSlot[] = [];
  readonly #series = new BackendSeries(BACKEND_SLOTS);
  /** The latest slots. */
  readonly routes = new RouteCounts(BACKEND_SLOTS);
  #backendSlots: readonly number[] = [];
  #before: TrafficTotals = emptyTotals();
  #startedAt = 0;
  #timer: NodeJS.Timeout | undefined;

  /** @param ended Called after each slot. */
  constructor(sources: SlotSources, ended: () => void) {
    this.#sources = sources;
    this.#ended = ended;
    this.#begin(sources.totals());
  }

  /** The totals at the end of the latest slot, and when that was. */
  get latest(): { readonly totals: TrafficTotals; readonly at: number } {
    return { totals: this.#before, at: this.#startedAt };
  }

  history(): TrafficHistory {
    return {
      slotMs: SLOT_MS,
      length: SLOTS,
      boundsMs: BOUNDS_MS,
      slots: this.#slots.slice(),
      backendSlots: this.#backendSlots,
      backends: this.#series.data(this.#backendSlots.length),
    };
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #begin(totals: TrafficTotals): void {
    const now = Date.now();
    this.#before = totals;
    this.#startedAt = now;
    // At the same times in all processes, so that their slots can be added. A little later, because a timer may fire a little early.
    this.#timer = setTimeout(() => this.#end(), SLOT_MS - (now % SLOT_MS) + EARLY_MS).unref();
  }

  #end(): void {
    const totals = this.#sources.totals();
    const before = this.#before;
    const at = Math.floor(this.#startedAt / SLOT_MS) * SLOT_MS;
    this.#slots.push({
      at,
      ...difference(countsOf(totals), countsOf(before)),
      durations: Array.from(totals.durations, (count, index) => count - (before.durations[index] as number)),
      loopLagMs: this.#sources.lagMs(),
    });
    if (this.#slots.length > SLOTS) this.#slots.shift();
    this.#series.add(totals.backends, ({ service, backend }) => this.#sources.failures(service, backend));
    this.routes.slotEnded(totals.routes);
    this.#backendSlots = [...this.#backendSlots, at].slice(-BACKEND_SLOTS);
    this.#begin(totals);
    this.#ended();
  }
}
