import { DURATION_BUCKETS } from '../metrics/histogram.ts';
import { type BackendTotals, sum, type TrafficTotals } from '../metrics/traffic-totals.ts';
import { LOOK_EVERY_MS } from './problem-monitor.ts';
import { WINDOW_MS } from './recent.ts';

const LATELY_MS = 2 * LOOK_EVERY_MS;

/** Responses of ten seconds from which a percentile means something. */
const LEAST_RESPONSES = 10;
/** Responses of the last four seconds from which these alone decide: else many quick ones of before would hide the slow ones of now. */
const LEAST_LATELY = 20;
/** Looks without a single response: six to eight seconds. */
const SILENT_LOOKS = 3;
/** Responses that a comparison with the past needs. */
const LEAST_PAST = 50;
/** So many times as long as usual is slow, if it is this much longer: buckets of durations are coarse, and fast backends jitter. */
const FACTOR = 3;
const LEAST_MORE_MS = 100;
/** Half of the time after which a request is given up. */
const TIMEOUT_PART = 0.5;
/** The past fades: half of it in five minutes. What is slow now counts a fiftieth in it. */
const HALF_LIFE_MS = 300_000;
const FADE = 0.5 ** (LOOK_EVERY_MS / HALF_LIFE_MS);
const SLOW_PART = 0.02;
const PERCENTILE = 0.95;
/** So many standard deviations are no chance: where one request in twenty always was slow, two of twenty are no news. */
const DEVIATIONS = 4;

type BackendNow = Readonly<{ proxy: string; backend: string; heads: Float64Array; ms: number; inFlight: number }>;

/** One backend that is slow. */
export interface SlowBackend {
  readonly proxy: string;
  readonly backend: string;
  /** The share of its responses that took at least `slowMs` to begin: so many that it is no chance. */
  readonly slowShare: number;
  /** Nothing when none was answered. */
  readonly slowMs: number | undefined;
  /** Of how many. */
  readonly responses: number;
  /** What that is compared with. */
  readonly than: { readonly what: 'past' | 'peers' | 'timeout' | 'silent'; readonly ms: number };
}

interface Past {
  /** Fading counts by duration. */
  readonly heads: Float64Array;
  /** Whether it was slow at the last look. */
  isSlow: boolean;
  /** All responses so far, and how many looks in a row found no more. */
  answered: number;
  silentLooks: number;
}

/**
 * Which backends are slow: the time until the head of a response that many of the last four to ten seconds exceed, compared with the 95th percentile of the backend's own
 * last minutes, with the median of the others of its proxy, and with `responseTimeoutMs`. It keeps some twenty numbers per backend.
 */
export class SlowBackends {
  readonly #pasts = new Map<string, Past>();

  /**
   * @param before Totals ten seconds ago.
   * @param lately Totals four seconds ago.
   * @param inFlight Requests in progress, by `backendKey()`.
   * @param timeoutMs Of a proxy, after how many milliseconds a request is given up.
   */
  look(
    before: TrafficTotals['backends'],
    lately: TrafficTotals['backends'],
    now: TrafficTotals['backends'],
    inFlight: ReadonlyMap<string, number>,
    timeoutMs: (proxy: string) => number | undefined,
  ): SlowBackend[] {
    for (const key of this.#pasts.keys()) if (!now.has(key)) this.#pasts.delete(key);
    const windows = new Map<string, BackendNow>();
    for (const [key, { proxy, backend, heads }] of now) {
      const latest = difference(heads, lately.get(key)?.heads);
      const isEnough = sum(latest) >= LEAST_LATELY;
      const window = isEnough ? latest : difference(heads, before.get(key)?.heads);
      windows.set(key, {
        proxy,
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
      const found = compare(window, past, medians.get(window.proxy), timeoutMs(window.proxy));
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
  { proxy, backend, heads, inFlight }: BackendNow,
  past: Past,
  peers: readonly { readonly backend: string; readonly ms: number }[] = [],
  timeoutMs: number | undefined,
): SlowBackend | undefined {
  const responses = sum(heads);
  const pastCount = sum(past.heads);
  const usualMs = pastCount >= LEAST_PAST ? percentileMs(past.heads) : undefined;
  // Requests wait, and not one was answered for some looks, where nearly all took less than a second before.
  if (past.silentLooks >= SILENT_LOOKS && inFlight > 1 && usualMs !== undefined && usualMs < 1_000) {
    return {
      proxy,
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
    return { proxy, backend, slowShare, slowMs, responses, than: { what, ms } };
  };
  if (timeoutMs !== undefined && slowMs >= TIMEOUT_PART * timeoutMs) return found('timeout', timeoutMs);
  if (usualMs !== undefined && isMuchMore(slowMs, usualMs)) return found('past', usualMs);
  const others = peers.filter((one) => one.backend !== backend).map(({ ms }) => ms);
  const median = others.sort((a, b) => a - b)[Math.floor(others.length / 2)];
  if (median !== undefined && isMuchMore(slowMs, median)) return found('peers', median);
  return undefined;
}

/** What the slowest twentieth of so many responses is not by chance: 43 % of ten, 30 % of twenty, 8 % of a thousand. */
function unlikelyShare(responses: number): number {
  const expected = (1 - PERCENTILE) * responses;
  return Math.min(1, (expected + DEVIATIONS * Math.sqrt(expected) + 1) / responses);
}

const isMuchMore = (ms: number, usualMs: number): boolean => ms >= FACTOR * usualMs && ms - usualMs >= LEAST_MORE_MS;

/** Of all backends with enough responses, by proxy. */
function mediansOf(windows: readonly BackendNow[]) {
  const busy = windows.filter(({ heads }) => sum(heads) >= LEAST_RESPONSES);
  const ofProxy = Map.groupBy(busy, ({ proxy }) => proxy);
  return new Map(
    [...ofProxy].map(([proxy, all]) => [
      proxy,
      all.map(({ backend, heads }) => ({ backend, ms: percentileMs(heads) })),
    ]),
  );
}

/** A window is looked at every two seconds: only that part of it is new. */
function remember(past: Past, { heads, ms }: BackendNow): void {
  const part = (LOOK_EVERY_MS / ms) * (past.isSlow ? SLOW_PART : 1);
  for (const [index, count] of heads.entries()) {
    past.heads[index] = (past.heads[index] as number) * FADE + count * part;
  }
}

/** A backend that left and came back counts from zero again. */
const difference = (now: Float64Array, before: Float64Array | undefined): Float64Array =>
  Float64Array.from(now, (count, index) => Math.max(0, count - (before?.[index] ?? 0)));

/** Within a bucket, durations are taken to lie evenly. */
function percentileMs(counts: Float64Array, percentile = PERCENTILE): number {
  let left = percentile * sum(counts);
  for (const [index, count] of counts.entries()) {
    if (count >= left && count > 0) {
      const from = DURATION_BUCKETS[index - 1] ?? 0;
      const to = DURATION_BUCKETS[index] ?? from * 2;
      return 1_000 * (from + (to - from) * (left / count));
    }
    left -= count;
  }
  return 0;
}
