import { type RedisAddress, readRedisAddress } from './redis-address.ts';

/** A Redis URL that keeps its password to itself: error messages show the class's name only. */
export class RedisUrl {
  readonly #address: RedisAddress | string;

  constructor(href: string) {
    this.#address = readRedisAddress(href);
  }

  /** What is wrong with the URL, if anything. */
  get problem(): string | undefined {
    return typeof this.#address === 'string' ? this.#address : undefined;
  }

  /**
   * What the URL says, for the client only.
   *
   * @throws {TypeError} if it has a problem
   */
  get address(): RedisAddress {
    if (typeof this.#address === 'string') throw new TypeError(`The Redis URL ${this.#address}`);
    return this.#address;
  }
}
