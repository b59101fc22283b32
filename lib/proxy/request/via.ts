import { randomBytes } from 'node:crypto';
import { TOKEN } from '../../core/field-values.ts';
import type { Check } from '../../core/options.ts';

/** A member of the list: protocol, then who received it (RFC 9110 §7.6.3). */
const RECEIVED_BY = /^\S+[ \t]+([^\s(]+)/;

export const viaPseudonym: Check = (value) =>
  value === undefined || value === false || (typeof value === 'string' && TOKEN.test(value))
    ? undefined
    : 'must be false or a token such as "edge-1" (letters, digits, - . _ and the like)';

/** The gateway's part of `Via`: what it adds to each request, and how it knows one that it has sent itself. */
export class Via {
  readonly pseudonym: string;
  readonly #hop: string;

  /** @param pseudonym Default: a name of its own for each, so that gateways in a chain are no loop. */
  constructor(pseudonym = `expressway-${randomBytes(3).toString('hex')}`) {
    this.pseudonym = pseudonym;
    this.#hop = `1.1 ${pseudonym}`;
  }

  /** The field to send: one entry per hop, in order, with the version that this hop received. */
  after(before: string | undefined, httpVersion: string): string {
    const hop = httpVersion === '1.1' ? this.#hop : `${httpVersion} ${this.pseudonym}`;
    return before ? `${before}, ${hop}` : hop;
  }

  /** Whether a request has been here before (RFC 9110 §7.6). A comment is no entry. */
  isIn(before: string): boolean {
    if (!before.includes(this.pseudonym)) return false;
    return before.split(',').some((entry) => RECEIVED_BY.exec(entry.trim())?.[1] === this.pseudonym);
  }
}
