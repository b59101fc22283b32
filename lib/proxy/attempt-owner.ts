import type { Duplex } from 'node:stream';
import type { Outcome } from '../core/outcome.ts';
import type { HeaderSpelling } from './response/header-spelling.ts';
import type { ResponseFields } from './response/response-head.ts';

export interface AttemptTimeouts {
  /** Milliseconds from the end of the request to the head of its response. */
  readonly responseTimeoutMs: number;
  /** Milliseconds without a byte in either direction. Event streams and upgrades are exempt. */
  readonly idleTimeoutMs: number;
}

/** Decides about an attempt, and gets its result. */
export interface AttemptOwner {
  /** The request has been sent, with its whole body. */
  sent(): void;
  /**
   * Whether the client may get this response. If not, the whole response is dropped, and the attempt has ended without a call of `ended()`.
   */
  accepts(status: number, fields: ResponseFields): boolean;
  /** The headers of the response as the client gets them. */
  headersForClient(status: number, fields: ResponseFields): ResponseFields;
  /** The head of the final response has arrived, and goes to the client next. */
  responded(status: number, fields: ResponseFields): void;
  /** The backend switched protocols. The attempt is over, and the connection belongs to the owner. */
  upgraded(status: number, fields: ResponseFields, socket: Duplex, spelling: HeaderSpelling | undefined): void;
  /**
   * Code of the app threw. The attempt is over, and the owner releases all that it holds. Called after `ended()`, or in its place.
   *
   * @param isKept Whether a middleware may keep the beginning of a body. It would join another response to that, so the client is cut.
   */
  threw(error: unknown, isKept: boolean): void;
  /** Called once, except after `upgraded()`. */
  ended(outcome: Outcome): void;
}
