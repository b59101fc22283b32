/** Common limits, to be multiplied by 1, 10, 100 and so on. */
const COMMON = [1, 2, 3, 5];
const MOST_ROWS = 7;

interface Client {
  /** Number of the present window. */
  window: number;
  count: number;
  /** Most requests in one window so far. */
  most: number;
}

/** The effect of one limit. */
export interface LimitEffect {
  readonly limit: number;
  /** Requests over the limit. */
  readonly limited: number;
  /** Clients that were over the limit at least once. */
  readonly clients: number;
}

/** Distribution of the requests per client and window, over all windows with requests. */
export interface WindowSummary {
  readonly windowMs: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
  readonly limits: readonly LimitEffect[];
}

/** Counts how many requests clients make per window, which helps to choose a limit. Windows begin at multiples of their length. */
export class WindowCounts {
  readonly #windowMs: number;
  readonly #capacity: number;
  readonly #clients = new Map<string, Client>();
  /** By number of requests, how many windows of a client had that many. */
  readonly #histogram = new Map<number, number>();
  /** By number of requests, how many clients had that many in their busiest window. Only clients that were dropped. */
  readonly #clientsByMost = new Map<number, number>();

  /** @param capacity The most clients that are counted separately. */
  constructor(windowMs: number, capacity: number) {
    this.#windowMs = windowMs;
    this.#capacity = capacity;
  }

  count(key: string, now: number): void {
    const window = Math.floor(now / this.#windowMs);
    const client = this.#clients.get(key);
    if (client === undefined) {
      if (this.#clients.size >= this.#capacity) this.#forgetFirst();
      this.#clients.set(key, { window, count: 1, most: 0 });
    } else if (client.window === window) {
      client.count++;
    } else {
      this.#end(client);
      client.window = window;
      client.count = 1;
      // The first one is the client whose last request is the oldest.
      this.#clients.delete(key);
      this.#clients.set(key, client);
    }
  }

  /** Call it once, at the end. */
  summary(): WindowSummary {
    for (const client of this.#clients.values()) {
      this.#end(client);
      add(this.#clientsByMost, client.most);
    }
    this.#clients.clear();
    const counts = [...this.#histogram].sort(([a], [b]) => a - b);
    const total = counts.reduce((sum, [, times]) => sum + times, 0);
    const quantile = (share: number): number => {
      let rest = Math.ceil(total * share);
      for (const [count, times] of counts) {
        rest -= times;
        if (rest <= 0) return count;
      }
      return 0;
    };
    const [p50, p90, p99, max] = [quantile(0.5), quantile(0.9), quantile(0.99), counts.at(-1)?.[0] ?? 0];
    const limits = commonLimits(p50, max).map((limit) => ({
      limit,
      limited: counts.reduce((sum, [count, times]) => sum + Math.max(0, count - limit) * times, 0),
      clients: [...this.#clientsByMost].reduce((sum, [most, times]) => (most > limit ? sum + times : sum), 0),
    }));
    return { windowMs: this.#windowMs, p50, p90, p99, max, limits };
  }

  #end(client: Client): void {
    add(this.#histogram, client.count);
    client.most = Math.max(client.most, client.count);
  }

  #forgetFirst(): void {
    const [first] = this.#clients;
    if (first === undefined) return;
    const [key, client] = first;
    this.#clients.delete(key);
    this.#end(client);
    add(this.#clientsByMost, client.most);
  }
}

const add = (counts: Map<number, number>, key: number): void => void counts.set(key, (counts.get(key) ?? 0) + 1);

/** Common limits from the median of all clients up to one that no client reaches, the strictest first. */
function commonLimits(p50: number, max: number): number[] {
  const limits: number[] = [];
  for (let power = 1; ; power *= 10) {
    for (const one of COMMON) {
      const limit = one * power;
      if (limit >= p50) limits.push(limit);
      if (limit >= max) return limits.slice(-MOST_ROWS);
    }
  }
}
