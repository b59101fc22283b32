import type { IncomingMessage, ServerResponse } from 'node:http';
import { GatewayEvents } from '../core/events.ts';
import { exchangeOf } from '../core/exchange.ts';
import type { Middleware, Next } from '../core/http.ts';
import { type Checks, oneOf, optional, resolveOptions } from '../core/options.ts';
import { sendProblem } from '../core/problem.ts';
import { type AmbiguousPaths, refusalOf } from './request-checks.ts';

/** Options of {@link requestGuard}. */
export interface RequestGuardOptions {
  /**
   * What becomes of a request whose path servers read in different ways: encoded slashes, backslashes and control
   * characters, bad percent encoding, overlong UTF-8, backslashes, dot segments. `reject` answers 400, `pass` lets it
   * pass as it is. Default `reject`.
   */
  ambiguousPaths?: AmbiguousPaths;
  /** Where `rejected` goes. Default: an emitter of its own, as `events`. */
  events?: GatewayEvents;
}

/** Defaults of {@link RequestGuardOptions}. */
export const requestGuardDefaults = Object.freeze({ ambiguousPaths: 'reject' as AmbiguousPaths });

export const ambiguousPathsCheck = oneOf('reject', 'pass');

const checks: Checks<RequestGuardOptions> = {
  ambiguousPaths: ambiguousPathsCheck,
  events: optional((value) => (value instanceof GatewayEvents ? undefined : 'must be a GatewayEvents')),
};

/** The middleware of {@link requestGuard}, and its events. */
export interface RequestGuard extends Middleware {
  readonly events: GatewayEvents;
}

/**
 * Refuses requests that do not mean the same to every server, before anything else looks at them: framing that another
 * server could read otherwise, a repeated or bad `Host`, a target that is no path, a path with several readings. The
 * answer closes the connection. Mount it first:
 *
 * ```ts
 * app.use(requestGuard(), ipRateLimit(), roundRobinProxy({ backends }));
 * ```
 *
 * `roundRobinProxy()` makes the same checks itself; made here, they spare the middlewares before it, and the proxy does not
 * make them again.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function requestGuard(given?: RequestGuardOptions): RequestGuard {
  const options = resolveOptions('requestGuard', given, requestGuardDefaults, checks);
  const { ambiguousPaths, events = new GatewayEvents() } = options;
  return Object.assign(
    function expresswayRequestGuard(req: IncomingMessage, res: ServerResponse, next: Next): void {
      const exchange = exchangeOf(req, res);
      const refusal = refusalOf(exchange, ambiguousPaths);
      if (refusal === undefined) {
        next();
        return;
      }
      exchange.settle(refusal);
      events.emit('rejected', { exchange, outcome: refusal });
      sendProblem(res, refusal.cause, { detail: refusal.detail });
    },
    { events },
  );
}
