import type { OutgoingMessage } from 'node:http';

/**
 * Writes the `RateLimit` and `RateLimit-Policy` fields of draft-ietf-httpapi-ratelimit-headers-08. Without the
 * optional partition key, for which express-rate-limit hashes the client's key on every request.
 */
export class RateLimitFields {
  readonly #policy: string;
  readonly #item: string;
  readonly #name: string;
  #warned = false;

  constructor(name: string, limit: number, windowMs: number) {
    this.#name = name;
    this.#item = `"${name}"`;
    this.#policy = `${this.#item};q=${limit};w=${Math.ceil(windowMs / 1000)}`;
  }

  /** @param resetMs Milliseconds until the quota is whole again. */
  write(res: OutgoingMessage, remaining: number, resetMs: number): void {
    if (res.headersSent) return;
    const state = `${this.#item};r=${remaining};t=${Math.ceil(resetMs / 1000)}`;
    const others = res.getHeader('RateLimit');
    if (others === undefined) {
      res.setHeader('RateLimit-Policy', this.#policy);
      res.setHeader('RateLimit', state);
      return;
    }
    // Both fields are lists: the limiters that a request passes each add their own member.
    if (String(others).includes(`${this.#item};`)) this.#warn();
    res.setHeader('RateLimit-Policy', `${res.getHeader('RateLimit-Policy')}, ${this.#policy}`);
    res.setHeader('RateLimit', `${others}, ${state}`);
  }

  #warn(): void {
    if (this.#warned) return;
    this.#warned = true;
    process.emitWarning(
      `A request passed two rate limiters named "${this.#name}". In the same Redis with the same keyPrefix they ` +
        'share their counts, so that each such request counts twice: give each limiter its own name.',
      { type: 'ExpresswayRateLimitWarning' },
    );
  }
}
