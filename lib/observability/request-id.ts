import { randomBytes } from 'node:crypto';
import type { Exchange } from '../core/exchange.ts';

/** No more than what is safe in every log, shell and URL; long enough for a W3C trace id or a UUID with a prefix. */
const ACCEPTED = /^[A-Za-z0-9._~:+/=@-]{1,128}$/;
const FIELD = 'x-request-id';

/**
 * Names requests. An id is 12 random bytes of the process and a number that counts up: unique, and no secret: nobody may
 * be let in for knowing one.
 */
export class RequestIds {
  readonly #prefix = randomBytes(12).toString('base64url');
  #count = 0;

  /** The id of a request: the one that a trusted peer gave it, if that can be used, or a new one. The backend gets it. */
  assign({ req, peerTrusted }: Exchange): string {
    const { headers } = req;
    const given = headers[FIELD];
    const id = peerTrusted && typeof given === 'string' && ACCEPTED.test(given) ? given : this.#next();
    headers[FIELD] = id;
    // Some backends cannot tell these from the real one.
    delete headers.x_request_id;
    delete headers['x-request_id'];
    delete headers['x_request-id'];
    const { connection } = headers;
    // A client must not take the id off by naming it there (RFC 9110 §7.6.1).
    if (connection?.toLowerCase().includes(FIELD)) headers.connection = without(connection);
    return id;
  }

  #next(): string {
    this.#count += 1;
    return `${this.#prefix}-${this.#count.toString(36)}`;
  }
}

function without(connection: string): string {
  const names = connection.split(',').map((name) => name.trim());
  return names.filter((name) => name.toLowerCase() !== FIELD).join(', ');
}
