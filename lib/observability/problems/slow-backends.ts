import { quantileMs } from '../metrics/histogram.ts';
import { type BackendTotals, sum, type TrafficTotals } from '../metrics/traffic-totals.ts';
import { LOOK_EVERY_MS } from './problem-monitor.ts';
import { WINDOW_MS } from './recent.ts';

const LATELY_MS = 2 * LOOK_EVERY_MS;

/** Responses in ten seconds that a percentile needs to be meaningful. */
const LEAST_RESPONSES = 10;
/** With this many responses in the last four seconds, only these count. Otherwise many quick ones from before would hide slow ones. */
const LEAST_LATELY = 20;
/** Looks in a row without a response (six to eight seconds) after which a backend hangs. */
const SILENT_LOOKS = 3;
/** Responses of the past that a comparison needs. */
const LEAST_PAST = 50;
/** Slow is this many times as long as usual, and at least this much more: buckets are coarse, and fast backends jitter. */
const FACTOR = 3;
const LEAST_MORE_MS = 100;
/** The part of the response timeout from which a response is slow in any case. */
const TIMEOUT_PART = 0.5;
/** Decay of past counts: they halve in five minutes. Slow responses enter them with a fiftieth of their number. */
const HALF_LIFE_MS = 300_000;
const FADE = 0.5 ** (LOOK_EVERY_MS / HALF_LIFE_MS);
const SLOW_PART = 0.02;
const PERCENTILE = 0.95;
/** Standard deviations that rule out chance: if one request in twenty was always slow, two of twenty are no problem. */
const DEVIATIONS = 4;

type BackendNow = Readonly<{ service: string; backend: string; heads: Float64Array; ms: number; inFlight: number }>;

/** One backend that is slow. */
export interface SlowBackend {
  readonly service: string;
  readonly backend: string;
  /** The share of its responses that took at least `slowMs` to begin. */
  readonly slowShare: number;
  /** `undefined` when there was no response. */
  readonly slowMs: number | undefined;
  /** Number of responses. */
  readonly responses: number;
  /** What its latency was compared with. */
  readonly than: { readonly what: 'past' | 'peers' | 'timeout' | 'silent'; readonly ms: number };
}

interface Past {
  /** Decaying counts by duration. */
  readonly heads: Float64Array;
  /** Whether it was slow at the last look. */
  isSlow: boolean;
  /** All responses so far, and how many looks in a row brought no new one. */
  answered: number;
  silentLooks: number;
}

/**
 * Finds slow backends. It takes the time to the response head that too many responses of the last four to ten seconds exceeded. It compares
 * that with the 95th percentile of the backend's own last minutes, with the median of the other backends of its service, and with
 * `responseTimeoutMs`. It keeps some twenty numbers per backend.
 */
export class SlowBackends {
  readonly #pasts = new Map<string, Past>();

  /**
   * @param before Totals ten seconds ago.
   * @param lately Totals four seconds ago.
   * @param inFlight Requests in progress, by `backendKey()`.
   * @param timeoutMs Gives the response timeout of a service, in milliseconds.
   */
  look(
    before: TrafficTotals['backends'],
    lately: TrafficTotals['backends'],
    now: TrafficTotals['backends'],
    inFlight: ReadonlyMap<string, number>,
    timeoutMs: (service: string) => number | undefined,
  ): SlowBackend[] {
    for (const key of this.#pasts.keys()) if (!now.has(key)) this.#pasts.delete(key);
    const windows = new Map<string, BackendNow>();
    for (const [key, { service, backend, heads }] of now) {
      const latest = difference(heads, lately.get(key)?.heads);
      const isEnough = sum(latest) >= LEAST_LATELY;
      const window = isEnough ? latest : difference(heads, before.get(key)?.heads);
      windows.set(key, {
        service,
        backend,
        heads: window,
        ms: isEnough ? LATELY_MS : WINDOW_MS,
        inFlight: inFlight.get(key) ?? 0,
      });
    }
    const medians = mediansOf([...windows.values()]);
    const slow: SlowBackend[] = [];
    for (const [key, window] of windows) {
      const past = this.#pasts.get(key) ?? emptyPast(window.heads.length);
      this.#pasts.set(key, past);
      const answered = sum((now.get(key) as BackendTotals).heads);
      past.silentLooks = answered === past.answered ? past.silentLooks + 1 : 0;
      past.answered = answered;
      const found = compare(window, past, medians.get(window.service), timeoutMs(window.service));
      if (found !== undefined) slow.push(found);
      past.isSlow = found !== undefined;
      remember(past, window);
    }
    return slow;
  }
}

const emptyPast = (length: number): Past => ({
  heads: new Float64Array(length),
  isSlow: false,
  answered: 0,
  silentLooks: 0,
});

function compare(
  { service, backend, heads, inFlight }: BackendNow,
  past: Past,
  peers: readonly { readonly backend: string; readonly ms: number }[] = [],
  timeoutMs: number | undefined,
): SlowBackend | undefined {
  const responses = sum(heads);
  const pastCount = sum(past.heads);
  const usualMs = pastCount >= LEAST_PAST ? percentileMs(past.heads) : undefined;
  // Requests wait, no response came for some looks, and before that nearly all took less than a second.
  if (past.silentLooks >= SILENT_LOOKS && inFlight > 1 && usualMs !== undefined && usualMs < 1_000) {
    return {
      service,
      backend,
      slowShare: 1,
      slowMs: undefined,
      responses: inFlight,
      than: { what: 'silent', ms: usualMs },
    };
  }
  if (responses < LEAST_RESPONSES) return undefined;
  const slowShare = unlikelyShare(responses);
  const slowMs = percentileMs(heads, 1 - slowShare);
  const found = (what: SlowBackend['than']['what'], ms: number): SlowBackend => {
    return { service, backend, slowShare, slowMs, responses, than: { what, ms } };
  };
  if (timeoutMs !== undefined && slowMs >= TIMEOUT_PART * timeoutMs) return found('timeout', timeoutMs);
  if (usualMs !== undefined && isMuchMore(slowMs, usualMs)) return found('past', usualMs);
  const others = peers.filter((one) => one.backend !== backend).map(({ ms }) => ms);
  const median = others.sort((a, b) => a - b)[Math.floor(others.length / 2)];
  if (median !== undefined && isMuchMore(slowMs, median)) return found('peers', median);
  return undefined;
}

/** The share of slow responses that rules out chance where a twentieth is always slow: 43 % of ten, 30 % of twenty, 8 % of a thousand. */
function unlikelyShare(responses: number): number {
  const expected = (1 - PERCENTILE) * responses;
  return Math.min(1, (expected + DEVIATIONS * Math.sqrt(expected) + 1) / responses);
}

const isMuchMore = (ms: number, usualMs: number): boolean => ms >= FACTOR * usualMs && ms - usualMs >= LEAST_MORE_MS;

/** By service, the latency of each backend with enough responses. */
function mediansOf(windows: readonly BackendNow[]) {
  const busy = windows.filter(({ heads }) => sum(heads) >= LEAST_RESPONSES);
  const ofService = Map.groupBy(busy, ({ service }) => service);
  return new Map(
    [...ofService].map(([service, all]) => [
      service,
      all.map(({ backend, heads }) => ({ backend, ms: percentileMs(heads) })),
    ]),
  );
}

/** Windows overlap, because a look comes every two seconds. Only that part is new. */
function remember(past: Past, { heads, ms }: BackendNow): void {
  const part = (LOOK_EVERY_MS / ms) * (past.isSlow ? SLOW_PART : 1);
  for (const [index, count] of heads.entries()) {
    past.heads[index] = (past.heads[index] as number) * FADE + count * part;
  }
}

/** The counts of a backend that left and came back start at 0 again. */
const difference = (now: Float64Array, before: Float64Array | undefined): Float64Array =>
  Float64Array.from(now, (count, index) => Math.max(0, count - (before?.[index] ?? 0)));

const percentileMs = (counts: Float64Array, share = PERCENTILE): number => quantileMs(counts, share) ?? 0;
