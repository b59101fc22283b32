import type { TrafficSource } from '../metrics/traffic-totals.ts';
import { allBreakers, allLimiters, allProxies } from '../router-parts.ts';
import type { StatusBreaker, StatusLimiter, StatusProxy, StatusRouter } from './status-sources.ts';

/** The middlewares of the app, as in the options. A router may have other routes and services after a reload. */
interface Given {
  readonly limiters: readonly StatusLimiter[];
  readonly breakers: readonly StatusBreaker[];
  readonly proxies: readonly StatusProxy[];
  readonly routers: readonly StatusRouter[];
}

/** Reads totals and states once for all detectors of a look: with a thousand backends that takes milliseconds. */
export class Reading {
  readonly sources: {
    readonly metrics: TrafficSource;
    readonly proxies: StatusProxy[];
    /** Including those of routes. */
    readonly limiters: StatusLimiter[];
    readonly breakers: readonly StatusBreaker[];
    /** Totals of single routes. */
    readonly routeBreakers: StatusBreaker[];
  };
  readonly #given: Given;
  readonly #known = new Map<object, unknown>();

  constructor(metrics: TrafficSource, given: Given) {
    this.#given = given;
    const once = { totals: () => this.#once(metrics, () => metrics.totals()) };
    this.sources = { metrics: once, proxies: [], limiters: [], breakers: given.breakers, routeBreakers: [] };
    this.forget();
  }

  /** Also updates the lists of middlewares, which a reload may have changed. */
  forget(): void {
    this.#known.clear();
    const { proxies, limiters, routers } = this.#given;
    const read = allProxies(proxies, routers).map((proxy) => this.#reader(proxy));
    replace(this.sources.proxies, read);
    replace(this.sources.limiters, allLimiters(limiters, routers));
    replace(this.sources.routeBreakers, allBreakers([], routers));
  }

  #reader(proxy: StatusProxy): StatusProxy {
    return {
      name: proxy.name,
      responseTimeoutMs: proxy.responseTimeoutMs,
      status: () => this.#once(proxy, () => proxy.status()),
      load: () => proxy.load(),
    };
  }

  #once<T>(of: object, read: () => T): T {
    if (!this.#known.has(of)) this.#known.set(of, read());
    return this.#known.get(of) as T;
  }
}

const replace = <T>(all: T[], by: readonly T[]): void => void all.splice(0, all.length, ...by);
