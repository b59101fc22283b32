import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

/** Wrong tokens in a minute, from one address and in total, after which each further token is checked with a delay. */
const MOST_OF_ONE = 5;
const MOST_OF_ALL = 50;
const WINDOW_MS = 60_000;
const WAIT_MS = 1_000;

/** `gone`: the client left before its token was checked. */
export type TokenVerdict = 'right' | 'wrong' | 'too-many' | 'off' | 'gone';

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

/**
 * Checks the token of a request, which must be in `Authorization: Bearer`. A browser never adds this header by itself, so no page of
 * another site can act for the operator. Digests are compared, which takes the same time for any text.
 *
 * Wrong tokens delay further ones, but never reject the right one. Otherwise a client of this listener could lock the operator out.
 */
export class TokenGuard {
  readonly #token: Buffer | undefined;
  #failures = new Map<string, number>();
  #allFailures = 0;
  #since = 0;

  constructor(token: string | undefined) {
    this.#token = token === undefined ? undefined : digest(token);
  }

  get isOn(): boolean {
    return this.#token !== undefined;
  }

  async check({ headers, socket }: IncomingMessage): Promise<TokenVerdict> {
    if (this.#token === undefined) return 'off';
    // A scheme is case-insensitive (RFC 9110 §11.1).
    const given = /^bearer +(.+)$/i.exec(headers.authorization ?? '')?.[1];
    // A request without a token is no guess.
    if (given === undefined) return 'wrong';
    const address = socket.remoteAddress ?? '';
    const isSlowed = this.#isSlowed(address);
    if (isSlowed) {
      // Guesses on one connection wait one after the other, because hardenServer() serves one request at a time.
      await delay(WAIT_MS, undefined, { ref: false });
      if (socket.destroyed) return 'gone';
    }
    if (timingSafeEqual(digest(given), this.#token)) {
      this.#failures.delete(address);
      return 'right';
    }
    // The total bounds the number of addresses.
    if (isSlowed) return 'too-many';
    this.#failures.set(address, (this.#failures.get(address) ?? 0) + 1);
    this.#allFailures += 1;
    return 'wrong';
  }

  /** Seconds until tokens are checked without a delay again. */
  get retryAfterSeconds(): number {
    return Math.max(1, Math.ceil((this.#since + WINDOW_MS - Date.now()) / 1000));
  }

  #isSlowed(address: string): boolean {
    const now = Date.now();
    if (now - this.#since >= WINDOW_MS || now < this.#since) {
      this.#since = now;
      this.#failures = new Map();
      this.#allFailures = 0;
    }
    return this.#allFailures >= MOST_OF_ALL || (this.#failures.get(address) ?? 0) >= MOST_OF_ONE;
  }
}
