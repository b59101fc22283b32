import { isIP } from 'node:net';
import { deadline } from '../../core/delay.ts';
import { thrownBy } from '../../core/thrown-by.ts';
import { type BackendConfig, MAX_WEIGHT } from '../backend-url.ts';
import { describeShortage, shortageOf } from '../health/gateway-resources.ts';
import type { DiscoveryName } from './discovery-name.ts';
import {
  type AddressRecord,
  makeResolver,
  type NameResolver,
  type ResolvedDnsOptions,
  type ServerRecord,
} from './discovery-options.ts';

/** The last known addresses of one name. */
interface Addresses {
  readonly v4: readonly string[];
  readonly v6: readonly string[];
}

/** The last known backends of a discovered name. */
export interface Answer {
  /** By name: for `srv`, of each server that the records name. */
  readonly addresses: ReadonlyMap<string, Addresses>;
  readonly backends: readonly BackendConfig[];
  /** Milliseconds until the first record expires; `Infinity` without a TTL. */
  readonly ttlMs: number;
  /** Why some or all addresses are from an earlier lookup. */
  readonly error: Error | undefined;
}

export const NO_ANSWER: Answer = Object.freeze({
  addresses: new Map(),
  backends: Object.freeze([]),
  ttlMs: Number.POSITIVE_INFINITY,
  error: undefined,
});

/** Upper bound of backends for one name: more is a mistake or an attack. */
const MAX_BACKENDS = 1_000;

const NO_ADDRESSES: Addresses = Object.freeze({ v4: [], v6: [] });

/** One lookup of one discovered name. It never rejects: if a part of it fails, it uses the addresses of the previous lookup. */
export class Lookup {
  readonly #source: DiscoveryName;
  readonly #options: ResolvedDnsOptions;
  readonly #resolver: NameResolver;
  #ttlMs = Number.POSITIVE_INFINITY;
  #error: Error | undefined;

  constructor(source: DiscoveryName, options: ResolvedDnsOptions) {
    this.#source = source;
    this.#options = options;
    this.#resolver = makeResolver(options);
  }

  async run(before: Answer): Promise<Answer> {
    const servers = await this.#servers();
    const names = [...new Set(servers.map(({ name }) => name))];
    const found = await Promise.all(names.map((name) => this.#addresses(name, before.addresses.get(name))));
    const addresses = new Map(names.map((name, index) => [name, found[index] as Addresses]));
    const backends = this.#backends(servers, addresses);
    const ttlMs = this.#ttlMs;
    const error = this.#error ?? (backends.length > MAX_BACKENDS ? tooMany(backends.length) : undefined);
    if (backends.length > 0 && backends.length <= MAX_BACKENDS) return { addresses, backends, ttlMs, error };
    return { ...before, ttlMs, error: error ?? new Error('no address found') };
  }

  cancel(): void {
    // A resolver of the user may be in use elsewhere.
    if (this.#options.resolver === undefined) this.#resolver.cancel?.();
  }

  async #servers(): Promise<readonly ServerRecord[]> {
    const { kind, name, port = 0 } = this.#source;
    if (kind === 'dns') return [{ name, port, weight: 1, priority: 0 }];
    try {
      const records = await this.#ask(() => this.#resolver.resolveSrv(name));
      const named = records.filter(namesServer);
      if (named.length === 0) throw new Error('the SRV records name no server');
      return weigh(named);
    } catch (error) {
      this.#error = error as Error;
      return [];
    }
  }

  async #addresses(name: string, before = NO_ADDRESSES): Promise<Addresses> {
    const { family } = this.#options;
    const [v4, v6] = await Promise.all([
      family === 6 ? [] : this.#family(4, () => this.#resolver.resolve4(name, { ttl: true })),
      family === 4 ? [] : this.#family(6, () => this.#resolver.resolve6(name, { ttl: true })),
    ]);
    // A name may have no address of one family. No address at all is more likely a mistake, and would leave no backend.
    const nothing = (v4 ?? []).length + (v6 ?? []).length === 0;
    if (nothing) this.#error ??= Object.assign(new Error(`no address of ${name} found`), { code: 'ENOTFOUND' });
    return nothing ? before : { v4: v4 ?? before.v4, v6: v6 ?? before.v6 };
  }

  /** `undefined` when DNS failed; an empty list when there is no such address. */
  async #family(
    version: 4 | 6,
    question: () => Promise<readonly AddressRecord[]>,
  ): Promise<readonly string[] | undefined> {
    try {
      const records = await this.#ask(question);
      for (const { ttl } of records) if (ttl >= 0) this.#ttlMs = Math.min(this.#ttlMs, ttl * 1_000);
      // A resolver of the app may have addresses of the other family, or with a zone, which no URL can have.
      const usable = records.filter(({ address }) => isIP(address) === version && !address.includes('%'));
      // Sorted, because name servers rotate their lists.
      return [...new Set(usable.map(({ address }) => address))].sort();
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENODATA' || code === 'ENOTFOUND') return [];
      this.#error ??= error as Error;
      return undefined;
    }
  }

  async #ask<T>(question: () => Promise<T>): Promise<T> {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const { timeoutMs } = this.#options;
    const stopTimer = deadline(timeoutMs, () => {
      reject(Object.assign(new Error(`no response within ${timeoutMs} ms`), { code: 'ETIMEOUT' }));
    });
    try {
      return await Promise.race([question(), late]);
    } catch (value) {
      const error = thrownBy('The resolver', value) as Error;
      const shortage = shortageOf(error);
      // c-ares reports it as a name server that refuses connections.
      if (shortage === undefined) throw error;
      throw Object.assign(new Error(describeShortage(shortage), { cause: error }), { code: shortage });
    } finally {
      stopTimer();
    }
  }

  #backends(servers: readonly ServerRecord[], addresses: ReadonlyMap<string, Addresses>): BackendConfig[] {
    const { protocol } = this.#source;
    const all = ({ name }: ServerRecord): string[] => {
      const { v4, v6 } = addresses.get(name) ?? NO_ADDRESSES;
      return [...v4, ...v6.map((address) => `[${address}]`)];
    };
    return inUse(servers, (server) => all(server).length > 0).flatMap((server) =>
      all(server).map((host) => ({
        url: new URL(`${protocol}//${host}:${server.port}`),
        weight: server.weight,
        name: server.name,
      })),
    );
  }
}

function tooMany(count: number): Error {
  return new Error(`${count} addresses, more than the ${MAX_BACKENDS} that are allowed`);
}

/** Weight of a server whose SRV record says 0 while others have more. */
const SMALL_CHANCE = 0.01;

/** The root name means that there is no such service (RFC 2782). */
export function namesServer({ name, port }: ServerRecord): boolean {
  return name !== '' && name !== '.' && Number.isInteger(port) && port >= 1 && port <= 65_535;
}

/**
 * Scales the weights of SRV records (0 to 65 535) down to ours, at least 1: 50 and 100 become 1 and 2, so that servers of equal
 * weight weigh as much as a backend without a weight.
 *
 * Weight 0 beside others is "a very small chance" (RFC 2782): a hundredth of the weight 1. Where all are 0 they are equal.
 */
export function weigh(records: readonly ServerRecord[]): ServerRecord[] {
  const weights = records.map(({ weight }) => weight);
  const unit = weights.reduce(greatestCommonDivisor, 0) || 1;
  const scale = Math.min(1, MAX_WEIGHT / (Math.max(...weights) / unit));
  const isMixed = weights.some((weight) => weight > 0);
  return records.map((record) => {
    if (record.weight === 0 && isMixed) return { ...record, weight: SMALL_CHANCE };
    return { ...record, weight: Math.max(1, Math.round((record.weight / unit) * scale)) };
  });
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

/**
 * The servers to use: those with the best priority (the lowest number) of which at least one has an address (RFC 2782). Circuits and
 * health checks find backends that are down.
 */
export function inUse(servers: readonly ServerRecord[], hasAddress: (server: ServerRecord) => boolean): ServerRecord[] {
  const found = servers.filter(hasAddress);
  const best = Math.min(...found.map(({ priority }) => priority));
  return found.filter(({ priority }) => priority === best);
}
