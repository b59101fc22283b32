import { hash } from 'node:crypto';
import { GatewayError } from '../core/errors.ts';
import { type AppRequest, type GatewayRequest, isPromise } from '../core/http.ts';
import { named } from '../core/thrown-by.ts';
import type { CostFunction, KeyFunction, LimitFunction, SkipFunction } from './ip-rate-limit-options.ts';

const LONGEST_KEY = 64;

export interface ClaimFunctions {
  readonly key?: KeyFunction | undefined;
  readonly limit: number | LimitFunction;
  readonly cost?: CostFunction | undefined;
  readonly skip?: SkipFunction | undefined;
}

/** Results of the app's functions (`key`, `limit`, `cost`) for one request. */
export interface OwnClaim {
  /** `undefined`: the client's address is the key. */
  readonly key: string | undefined;
  readonly cost: number;
  readonly limit: number | undefined;
}

/** Calls the app's functions. Throws or rejects if they do, and for invalid results. */
export class OwnClaims {
  readonly #functions: ClaimFunctions;
  readonly #largestLimit: number;

  constructor(functions: ClaimFunctions, windowMs: number) {
    const { key, limit, cost, skip } = functions;
    this.#functions = {
      key: key && named('ipRateLimit: key()', key),
      limit: typeof limit === 'function' ? named('ipRateLimit: limit()', limit) : limit,
      cost: cost && named('ipRateLimit: cost()', cost),
      skip: skip && named('ipRateLimit: skip()', skip),
    };
    this.#largestLimit = Math.floor(Number.MAX_SAFE_INTEGER / windowMs) - 1;
  }

  /** Whether there is any function to call. */
  get asks(): boolean {
    const { key, limit, cost, skip } = this.#functions;
    return key !== undefined || cost !== undefined || skip !== undefined || typeof limit === 'function';
  }

  /** Returns `undefined` for a request that is not limited. Returns a promise only if one of the functions does. */
  ask(incoming: GatewayRequest): OwnClaim | undefined | Promise<OwnClaim | undefined> {
    const req = incoming as AppRequest;
    const skipped = this.#functions.skip?.(req);
    if (!isPromise(skipped)) return skipped ? undefined : this.#ask(req);
    return Promise.resolve(skipped).then((skips) => (skips ? undefined : this.#ask(req)));
  }

  #ask(req: AppRequest): OwnClaim | Promise<OwnClaim> {
    const { key, limit, cost } = this.#functions;
    const keyed = key?.(req);
    const limited = askedBeside([keyed], () => (typeof limit === 'function' ? limit(req) : undefined));
    const costing = askedBeside([keyed, limited], () => (cost === undefined ? 1 : cost(req)));
    if (!isPromise(keyed) && !isPromise(limited) && !isPromise(costing)) return this.#claim(keyed, limited, costing);
    return Promise.all([keyed, limited, costing]).then((said) => this.#claim(...said));
  }

  #claim(key: unknown, limit: unknown, cost: unknown): OwnClaim {
    if (key !== undefined && key !== null && typeof key !== 'string') {
      throw badCallback(`ipRateLimit: key() must return a string or undefined, returned ${typeof key}`);
    }
    if (typeof this.#functions.limit === 'function' && !isInteger(limit, 1, this.#largestLimit)) {
      throw badCallback(
        `ipRateLimit: limit() must return an integer from 1 to ${this.#largestLimit}, returned ${limit}`,
      );
    }
    if (!isInteger(cost, 0, Number.MAX_SAFE_INTEGER)) {
      throw badCallback(`ipRateLimit: cost() must return an integer of at least 0, returned ${cost}`);
    }
    return { key: key ? ownKey(key) : undefined, cost, limit: limit as number | undefined };
  }
}

/** If the next function throws, no code awaits the promises of the earlier ones. Their rejection would end the process. */
function askedBeside<T>(before: readonly unknown[], ask: () => T): T {
  try {
    return ask();
  } catch (error) {
    for (const one of before) if (isPromise(one)) one.then(undefined, () => {});
    throw error;
  }
}

const badCallback = (message: string): GatewayError => new GatewayError('ERR_EXPRESSWAY_CALLBACK', message);

const isInteger = (value: unknown, least: number, most: number): value is number =>
  Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most;

/**
 * Turns a text of the app into a key. The key is short, has only printable characters, and never equals the key of an address, which a
 * client might otherwise forge.
 */
export function ownKey(text: string): string {
  return isShort(text) ? `k:${text}` : hashed(text);
}

/** A key for a text that cannot be confused with an address. */
export const boundedKey = (text: string): string => (isShort(text) ? text : hashed(text));

const isShort = (text: string): boolean => text.length <= LONGEST_KEY && /^[!-z|~]+$/.test(text);

const hashed = (text: string): string => `h:${hash('sha256', text, 'base64url').slice(0, 22)}`;
