import { isDeepStrictEqual } from 'node:util';
import type { CircuitBreaker } from '../circuit-breaker/circuit-breaker.ts';
import { withoutUndefined } from '../core/options.ts';
import { type RoundRobinProxy, type SharedProxy, sharedProxy } from '../proxy/round-robin-proxy.ts';
import { dropsClaimedIdentity } from './claimed-identity.ts';
import { type Declaration, type ServiceOptions, serviceRouterDefaults } from './declaration.ts';
import { makeRoute, type Route, type RouteParts, routeBreaker } from './route.ts';
import { type Authenticator, type RunningAuthenticator, startAuthenticator } from './route-authentication.ts';
import type { RouteLimit } from './route-limit.ts';
import { keepsLimiter, type LimiterParts, RouteLimiter } from './route-limiter.ts';
import { type RouteOptions, routeName } from './route-options.ts';
import { type RouteStatus, routeSummary } from './route-summary.ts';
import { RouteTable } from './route-table.ts';
import { UndecidedRequests } from './undecided-requests.ts';

/** A running part, and the declaration that it was made from. */
interface Running<D, R> {
  readonly declared: D;
  readonly running: R;
}

/** Running parts by name. A part whose declaration has not changed is taken over from the generation before. */
class Kept<D, R> {
  readonly all = new Map<string, Running<D, R>>();
  readonly #before: ReadonlyMap<string, Running<D, R>>;
  readonly #stays: (before: D, now: D) => boolean;

  constructor(before: Kept<D, R> | undefined, stays: (before: D, now: D) => boolean = isDeepStrictEqual) {
    this.#before = before?.all ?? new Map();
    this.#stays = stays;
  }

  get(name: string, declared: D, make: () => R): R {
    const known = this.all.get(name);
    if (known !== undefined) return known.running;
    const before = this.#before.get(name);
    const running = before !== undefined && this.#stays(before.declared, declared) ? before.running : make();
    this.all.set(name, { declared, running });
    return running;
  }

  /** Parts that were taken over although their declaration has changed. */
  get changed(): Running<D, R>[] {
    return [...this.all].flatMap(([name, now]) => {
      const before = this.#before.get(name);
      const isChanged = before?.running === now.running && !isDeepStrictEqual(before.declared, now.declared);
      return isChanged ? [now] : [];
    });
  }

  /** Parts that the generation before did not have. */
  get added(): R[] {
    return without(this.all, this.#before);
  }

  /** Parts of the generation before that this one does not have. */
  get removed(): R[] {
    return without(this.#before, this.all);
  }
}

const runningOf = <D, R>(all: ReadonlyMap<string, Running<D, R>>): R[] =>
  [...all.values()].map(({ running }) => running);

function without<D, R>(all: ReadonlyMap<string, Running<D, R>>, others: ReadonlyMap<string, Running<D, R>>): R[] {
  const known = new Set(runningOf(others));
  return runningOf(all).filter((one) => !known.has(one));
}

/** A service keeps its proxy if only its backends change: `setBackends()` keeps those that stay. */
function keepsProxy(before: ServiceOptions, now: ServiceOptions): boolean {
  return isDeepStrictEqual({ ...before, backends: [] }, { ...now, backends: [] });
}

/** The services, limiters, authenticators, circuits and routes of one declaration. */
export class RoutesInUse {
  readonly table: RouteTable<Route>;
  /** In matching order. */
  readonly routes: readonly RouteStatus[];
  readonly proxies: ReadonlyMap<string, RoundRobinProxy>;
  /** Names of query parameters in which clients send API keys. */
  readonly secretParameters: ReadonlySet<string>;
  readonly #kept: {
    readonly services: Kept<ServiceOptions, SharedProxy>;
    readonly limiters: Kept<RouteLimit, RouteLimiter>;
    readonly authenticators: Kept<Authenticator, RunningAuthenticator>;
    readonly breakers: Kept<RouteOptions['circuit'], CircuitBreaker | undefined>;
  };

  readonly #undecided = new UndecidedRequests();
  /** Resolves when earlier generations have no undecided request, which may need parts that this generation removed. */
  #earlierDecided: Promise<unknown> = Promise.resolve();
  readonly #countsElsewhere: boolean;
  /** Removed parts of all generations, until the last request that may need them is decided. */
  readonly #retired: Set<Closable>;

  /** @throws {OptionsError} for problems that only its use shows. Nothing is left running then. */
  constructor(declaration: Declaration, shared: LimiterParts, before?: RoutesInUse) {
    this.#countsElsewhere = (shared.redis ?? shared.counter) !== undefined;
    this.#retired = before === undefined ? new Set() : before.#retired;
    const old = before === undefined ? undefined : before.#kept;
    this.#kept = {
      services: new Kept(old?.services, keepsProxy),
      limiters: new Kept(old?.limiters, keepsLimiter),
      authenticators: new Kept(old?.authenticators),
      breakers: new Kept(old?.breakers),
    };
    try {
      const { ambiguousPaths = serviceRouterDefaults.ambiguousPaths } = declaration;
      for (const [name, own] of Object.entries(declaration.services)) {
        // Services must not reject paths that the router lets pass.
        const options = { ambiguousPaths, ...withoutUndefined(own) };
        this.#kept.services.get(name, options, () => sharedProxy({ ...options, name, events: shared.events }));
      }
      const services = new Map([...this.#kept.services.all].map(([name, { running }]) => [name, running]));
      const dropClaims = dropsClaimedIdentity(declaration);
      this.table = new RouteTable(
        declaration.routes.map((match) => ({
          route: this.#route(match, { services, dropClaims }, declaration, shared),
          match,
        })),
      );
    } catch (error) {
      void closeAll(this.#addedParts());
      throw error;
    }
    this.routes = this.table.entries.map(({ route: { options, breaker: circuit, limiters } }) => ({
      ...routeSummary(options, declaration.rateLimits),
      circuit,
      get limiters() {
        return limiters.flatMap(({ made }) => made);
      },
    }));
    const authenticators = [...this.#kept.authenticators.all.values()].map(({ declared }) => declared);
    this.secretParameters = new Set(authenticators.flatMap(({ apiKey }) => apiKey?.query ?? []));
    this.proxies = new Map([...this.#kept.services.all].map(([name, { running }]) => [name, running.proxy]));
  }

  /**
   * Starts the new parts of a declaration. This generation does not change before `apply()`.
   *
   * @throws {OptionsError} when the declaration cannot be used. No new part is left running then.
   */
  replacement(declaration: Declaration, shared: LimiterParts) {
    const next = new RoutesInUse(declaration, shared, this);
    return {
      next,
      apply: () => {
        for (const { declared, running } of next.#kept.services.changed) running.proxy.setBackends(declared.backends);
        for (const { declared, running } of next.#kept.limiters.changed) running.replace(declared);
        next.connect();
        next.#earlierDecided = Promise.all([this.#earlierDecided, this.#undecided.none()]);
        for (const part of next.#removedParts()) void next.#retire(part);
      },
      discard: () => void closeAll(next.#addedParts()),
    };
  }

  /** Connects to the shared store, by creating the first limiter. The others are created at their first requests. */
  connect(): void {
    this.#firstLimiter?.start();
  }

  /** `undefined` if all limits count in this process. */
  get #firstLimiter(): RouteLimiter | undefined {
    return this.#countsElsewhere ? this.#kept.limiters.all.values().next().value?.running : undefined;
  }

  async ready(): Promise<void> {
    await Promise.all([...[...this.proxies.values()].map((proxy) => proxy.ready()), this.#firstLimiter?.ready()]);
  }

  async resetKey(key: string): Promise<void> {
    await Promise.all(runningOf(this.#kept.limiters.all).map((one) => one.resetKey(key)));
  }

  async close(): Promise<void> {
    await closeAll([
      ...this.proxies.values(),
      ...runningOf(this.#kept.limiters.all),
      ...runningOf(this.#kept.authenticators.all),
      ...this.#retired,
    ]);
  }

  /**
   * Closes a part of the generation before when no request can need it. It never closes it at once, so that the status page shows no
   * closed part.
   */
  async #retire(part: Closable): Promise<void> {
    this.#retired.add(part);
    await this.#earlierDecided;
    await (part.retire ?? part.close)();
    this.#retired.delete(part);
  }

  #route(
    options: RouteOptions,
    parts: Pick<RouteParts, 'services' | 'dropClaims'>,
    { rateLimits = {}, authentication = {} }: Declaration,
    shared: LimiterParts,
  ): Route {
    const name = routeName(options);
    const limiters = [options.rateLimit ?? []].flat().map((limit, index) => {
      if (typeof limit === 'string' && Object.hasOwn(rateLimits, limit))
        return this.#limiter(limit, rateLimits[limit] as RouteLimit, shared);
      const own = typeof limit === 'string' ? { limit } : limit;
      return this.#limiter(index === 0 ? `route ${name}` : `limit ${index + 1} of route ${name}`, own, shared);
    });
    const authenticator = this.#authenticator(name, options.authentication, authentication, shared);
    return makeRoute(options, {
      ...parts,
      limiters,
      authenticate: authenticator?.middleware,
      breaker: this.#kept.breakers.get(name, options.circuit, () => routeBreaker(options, shared.events)),
      events: shared.events,
      undecided: this.#undecided,
    });
  }

  #limiter(name: string, limit: RouteLimit, shared: LimiterParts): RouteLimiter {
    return this.#kept.limiters.get(name, limit, () => new RouteLimiter(name, limit, shared));
  }

  #authenticator(
    route: string,
    given: RouteOptions['authentication'],
    named: NonNullable<Declaration['authentication']>,
    { events }: LimiterParts,
  ): RunningAuthenticator | undefined {
    if (given === undefined) return undefined;
    const [name, options] =
      typeof given === 'string' ? [given, named[given] as Authenticator] : [`route ${route}`, given];
    return this.#kept.authenticators.get(name, options, () => startAuthenticator(options, events));
  }

  #addedParts(): Closable[] {
    const { services, limiters, authenticators } = this.#kept;
    return [...services.added.map(({ proxy }) => proxy), ...limiters.added, ...authenticators.added];
  }

  #removedParts(): Closable[] {
    const { services, limiters, authenticators } = this.#kept;
    // Where the service goes on, an operator expects its new value to apply.
    const drainTimeoutMs = (name: string) => services.all.get(name)?.declared.drainTimeoutMs;
    return [
      ...services.removed.map(({ proxy, retire }) => ({
        close: () => proxy.close(),
        retire: () => retire(drainTimeoutMs(proxy.name)),
      })),
      ...[...limiters.removed, ...authenticators.removed].map((one) => ({ close: () => one.close() })),
    ];
  }
}

interface Closable {
  close(): Promise<void> | void;
  /** Closes it when its running requests have ended. */
  readonly retire?: () => Promise<void>;
}

async function closeAll(parts: readonly Closable[]): Promise<void> {
  await Promise.all(parts.map(async (part) => part.close()));
}
