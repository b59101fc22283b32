import type { IncomingMessage, ServerResponse } from 'node:http';
import { exchangeOf } from '../core/exchange.ts';
import { eventsCheck, GatewayEvents } from '../core/gateway-events.ts';
import type { GatewayRequest, Middleware, Next } from '../core/http.ts';
import { boolean, type Checks, oneOf, optional, resolveOptions } from '../core/options.ts';
import { reject } from '../core/reject.ts';
import { type AmbiguousPaths, refusalOf } from './request-checks.ts';
import { normalTarget } from './request-target.ts';

/** Options of {@link requestGuard}. */
export interface RequestGuardOptions {
  /**
   * What happens to a request whose path servers read in different ways: bad percent encoding, encoded control characters,
   * overlong UTF-8, backslashes, dot segments. `reject` sends 400. An encoded slash (`%2F`) alone passes, as data, unless it hides a
   * dot segment, an empty segment or more encoding. `strict` rejects each encoded slash too. `pass` lets all of them pass.
   * @default `reject`
   */
  ambiguousPaths?: AmbiguousPaths;
  /**
   * Whether several slashes in a row become one, as in nginx and with Envoy's `merge_slashes`. Without it, `//admin` is another path
   * than `/admin` for the routes here, and may be the same one for a backend.
   * @default true
   */
  mergeSlashes?: boolean;
  /** Emitter of the event `rejected`. Default: a new one, as `events` of the result. */
  events?: GatewayEvents;
}

/** Defaults of {@link RequestGuardOptions}. */
export const requestGuardDefaults = Object.freeze({
  ambiguousPaths: 'reject' as AmbiguousPaths,
  mergeSlashes: true,
});

export const ambiguousPathsCheck = oneOf('reject', 'strict', 'pass');

const checks: Checks<RequestGuardOptions> = {
  ambiguousPaths: ambiguousPathsCheck,
  mergeSlashes: boolean,
  events: optional(eventsCheck),
};

/** The middleware of {@link requestGuard}, and its events. */
export interface RequestGuard extends Middleware {
  readonly events: GatewayEvents;
}

/**
 * Rejects ambiguous requests, which another server could read differently (request smuggling, path confusion): ambiguous framing, a repeated
 * or invalid `Host`, a target that is no path, an ambiguous path. The response closes the connection. For all other requests it normalises the
 * path (RFC 3986 §6.2.2), so that a rule for a path applies to each spelling of it, and a backend gets the path that was matched. Mount it first:
 *
 * ```ts
 * app.use(requestGuard(), ipRateLimit(), roundRobinProxy({ backends }));
 * ```
 *
 * `roundRobinProxy()` makes the same checks itself. With this middleware they come before all other middlewares, and the proxy does not repeat
 * them.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function requestGuard(given?: RequestGuardOptions): RequestGuard {
  const options = resolveOptions('requestGuard', given, requestGuardDefaults, checks);
  const { ambiguousPaths, mergeSlashes, events = new GatewayEvents() } = options;
  return Object.assign(
    function expresswayRequestGuard(req: IncomingMessage, res: ServerResponse, next: Next): void {
      const exchange = exchangeOf(req, res);
      const refusal = refusalOf(exchange, ambiguousPaths);
      if (refusal === undefined) {
        normalise(req, mergeSlashes);
        next();
        return;
      }
      reject(exchange, refusal, events);
    },
    { events },
  );
}

/** Also normalises `originalUrl`, for middlewares that match the whole path. */
function normalise(req: GatewayRequest, mergeSlashes: boolean): void {
  const { url = '', originalUrl } = req;
  const normal = normalTarget(url, mergeSlashes);
  if (normal !== url) req.url = normal;
  if (originalUrl === undefined) return;
  if (originalUrl !== url) req.originalUrl = normalTarget(originalUrl, mergeSlashes);
  else if (normal !== url) req.originalUrl = normal;
}
