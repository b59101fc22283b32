import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { GatewayError } from '../core/errors.ts';
import { exchangeOf } from '../core/exchange.ts';
import { GatewayEvents } from '../core/gateway-events.ts';
import { isPromise, type Middleware, type Next } from '../core/http.ts';
import { OptionsError, resolveOptions } from '../core/options.ts';
import { shownValue } from '../core/shown-value.ts';
import { named } from '../core/thrown-by.ts';
import { assertHttpServer } from './http-server.ts';
import { LoadShedder } from './load-shedder.ts';
import {
  type LoadSheddingOptions,
  type LoadSheddingStatus,
  loadSheddingChecks,
  loadSheddingDefaults,
  type PriorityRequest,
} from './load-shedding-options.ts';
import { flowsOf } from './request-flows.ts';
import { PRIORITIES, type Priority } from './shedding-gate.ts';

/** The middleware of {@link loadShedding}, and its events. */
export interface LoadShedding extends Middleware {
  readonly events: GatewayEvents;
  status(): LoadSheddingStatus;
  /**
   * Rejects requests to a server by their bytes, before Node's parser and all middlewares. Such a rejection costs a third as much. Use it only
   * if this middleware gets the requests of all paths. Requests that need a parser still go to the middleware. The metrics count early
   * rejections, and the access log has one line a second for all of them.
   *
   * @throws {OptionsError} for a server without `hardenServer()`, or with `maxRequestsInProgress: 0`.
   */
  rejectEarly(server: Server): void;
}

/**
 * Rejects requests with 503 and `Retry-After` while the process is overloaded, so that the other requests are served in time.
 * Mount it first; health checks of the gateway itself belong before it, or on another listener:
 *
 * ```ts
 * app.use(loadShedding(), requestGuard(), ipRateLimit(), roundRobinProxy({ backends }));
 * ```
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function loadShedding(given?: LoadSheddingOptions): LoadShedding {
  const options = resolveOptions('loadShedding', given, loadSheddingDefaults, loadSheddingChecks);
  const events = options.events ?? new GatewayEvents();
  const priority = options.priority && named('loadShedding: priority()', options.priority);
  const shedder = new LoadShedder(options, events, (req) => priorityOf(req, priority));
  return Object.assign(
    function expresswayLoadShedding(req: IncomingMessage, res: ServerResponse, next: Next): void {
      let enters: boolean;
      try {
        enters = shedder.enters(exchangeOf(req, res));
      } catch (error) {
        next(error);
        return;
      }
      if (enters) next();
    },
    {
      events,
      status: () => shedder.status(),
      rejectEarly(server: Server): void {
        assertHttpServer('rejectEarly', server);
        const flows = flowsOf(server);
        if (flows === undefined) throw new OptionsError('rejectEarly', [NO_FLOWS]);
        flows.gate = shedder;
      },
    },
  );
}

const NO_FLOWS = 'call hardenServer(server) first, with maxRequestsInProgress above 0';

/** @throws what the app's function throws, and {GatewayError} ERR_EXPRESSWAY_CALLBACK for an invalid result. */
function priorityOf(
  { method, url, originalUrl, headers }: PriorityRequest & { readonly originalUrl?: string },
  ask: LoadSheddingOptions['priority'],
): Priority {
  if (ask === undefined) return 'normal';
  const given: unknown = ask({ method, url: originalUrl ?? url, headers }) ?? 'normal';
  if (PRIORITIES.includes(given as Priority)) return given as Priority;
  // Without a handler, a rejected promise would end the process.
  if (isPromise(given)) void Promise.resolve(given).catch(() => undefined);
  const what = typeof given === 'string' ? shownValue(given) : `a value of type ${typeof given}`;
  throw new GatewayError(
    'ERR_EXPRESSWAY_CALLBACK',
    `loadShedding: priority() must return high, normal, low or undefined, and no promise; it returned ${what}`,
  );
}
