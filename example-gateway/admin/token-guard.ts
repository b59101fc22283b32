import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

/** Wrong tokens in a minute, of one address and of all together; then nobody's token is looked at until it is over. */
const MOST_OF_ONE = 5;
const MOST_OF_ALL = 50;
const WINDOW_MS = 60_000;

export type TokenVerdict = 'right' | 'wrong' | 'too-many' | 'off';

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

/**
 * Knows whether a request carries the operator's token: in `Authorization: Bearer` only. A browser never adds that field by
 * itself, so no page of another site can act in the operator's name. Comparing digests takes the same time for any text.
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

  check({ headers, socket }: IncomingMessage): TokenVerdict {
    if (this.#token === undefined) return 'off';
    const now = Date.now();
    if (now - this.#since >= WINDOW_MS || now < this.#since) {
      this.#since = now;
      this.#failures = new Map();
      this.#allFailures = 0;
    }
    const address = socket.remoteAddress ?? '';
    const failures = this.#failures.get(address) ?? 0;
    if (failures >= MOST_OF_ONE || this.#allFailures >= MOST_OF_ALL) return 'too-many';
    // A scheme is case-insensitive (RFC 9110 §11.1).
    const given = /^bearer +(.+)$/i.exec(headers.authorization ?? '')?.[1];
    if (given !== undefined && timingSafeEqual(digest(given), this.#token)) {
      this.#failures.delete(address);
      return 'right';
    }
    // Nothing was guessed where nothing was said.
    if (given !== undefined) {
      this.#failures.set(address, failures + 1);
      this.#allFailures += 1;
    }
    return 'wrong';
  }

  /** Seconds until tokens are looked at again. */
  get retryAfterSeconds(): number {
    return Math.max(1, Math.ceil((this.#since + WINDOW_MS - Date.now()) / 1000));
  }
}
