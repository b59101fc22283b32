import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

/** Wrong tokens in a minute, of one address and of all together; after those, each token waits before it is looked at. */
const MOST_OF_ONE = 5;
const MOST_OF_ALL = 50;
const WINDOW_MS = 60_000;
const WAIT_MS = 1_000;

/** `gone`: the client has left before its token was looked at. */
export type TokenVerdict = 'right' | 'wrong' | 'too-many' | 'off' | 'gone';

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

/**
 * Knows whether a request carries the operator's token: in `Authorization: Bearer` only. A browser never adds that field by
 * itself, so no page of another site can act in the operator's name. Comparing digests takes the same time for any text.
 *
 * Wrong tokens make those that follow wait, and never refuse the right one: else anyone who reaches this listener could keep
 * the operator from acting.
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
    // Nothing was guessed where nothing was said.
    if (given === undefined) return 'wrong';
    const address = socket.remoteAddress ?? '';
    const isSlowed = this.#isSlowed(address);
    if (isSlowed) {
      // Guesses behind each other on one connection wait one after the other: hardenServer() begins one request at a time.
      await delay(WAIT_MS, undefined, { ref: false });
      if (socket.destroyed) return 'gone';
    }
    if (timingSafeEqual(digest(given), this.#token)) {
      this.#failures.delete(address);
      return 'right';
    }
    // Bounded by the number of all.
    if (isSlowed) return 'too-many';
    this.#failures.set(address, (this.#failures.get(address) ?? 0) + 1);
    this.#allFailures += 1;
    return 'wrong';
  }

  /** Seconds until tokens are looked at without a wait again. */
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
