import type { AddressRecord, NameResolver, ServerRecord } from 'expressway';

export interface FakeRecords {
  readonly a?: readonly string[] | Error | 'silent';
  readonly aaaa?: readonly string[] | Error | 'silent';
  readonly srv?: readonly ServerRecord[] | Error | 'silent';
  /** Seconds. Default 300. */
  readonly ttl?: number;
}

export function dnsError(code: string): Error {
  return Object.assign(new Error(`query ${code}`), { code });
}

/** Says what it is told to, at once. A name that it does not know does not exist. */
export class FakeResolver implements NameResolver {
  readonly records = new Map<string, FakeRecords>();
  readonly asked: string[] = [];

  async resolve4(name: string): Promise<readonly AddressRecord[]> {
    return this.#addresses(name, 'a');
  }

  async resolve6(name: string): Promise<readonly AddressRecord[]> {
    return this.#addresses(name, 'aaaa');
  }

  async resolveSrv(name: string): Promise<readonly ServerRecord[]> {
    return this.#answer(name, 'srv', this.records.get(name)?.srv);
  }

  /** How often it was asked for a kind of record. */
  count(question: string): number {
    return this.asked.filter((one) => one === question).length;
  }

  async #addresses(name: string, kind: 'a' | 'aaaa'): Promise<readonly AddressRecord[]> {
    const addresses = await this.#answer(name, kind, this.records.get(name)?.[kind]);
    const ttl = this.records.get(name)?.ttl ?? 300;
    return addresses.map((address) => ({ address, ttl }));
  }

  async #answer<T>(name: string, kind: string, answer: readonly T[] | Error | 'silent' | undefined) {
    this.asked.push(`${kind} ${name}`);
    if (answer === 'silent') return new Promise<never>(() => {});
    if (answer instanceof Error) throw answer;
    if (answer === undefined) throw dnsError(this.records.has(name) ? 'ENODATA' : 'ENOTFOUND');
    return answer;
  }
}
