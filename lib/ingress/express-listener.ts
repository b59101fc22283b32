import type { IncomingMessage, ServerResponse } from 'node:http';
import { isChain, type RanChain, ranBefore } from '../core/compose.ts';
import type { GatewayRequest, Middleware, Next } from '../core/http.ts';
import { assertExpressApp, type ExpressMessages } from './express-server-options.ts';

/** The parts of an Express app that are used here. */
export interface ExpressApp extends ExpressMessages {
  (req: never, res: never, next?: never): unknown;
  /** Whether a setting of Express is on. */
  enabled(setting: string): boolean;
}

/** A layer of Express's router. */
interface Layer {
  readonly handle: unknown;
  /** Whether it gets all paths. */
  readonly slash?: boolean;
}

type Call = (req: IncomingMessage, res: ServerResponse, done: Next | undefined) => void;
type Routed = Call & { readonly router: { readonly stack: readonly Layer[] } };
type ExpressRequest = GatewayRequest & { res?: ServerResponse; params?: object; next?: Next };
type ExpressResponse = ServerResponse & { locals?: object };

/**
 * The request listener for the server of an Express app whose first layer is a `compose()`d chain:
 *
 * ```ts
 * app.use(compose(requestGuard(), limiter, breaker, proxy));
 * const server = createServer(expressServerOptions(app), expressListener(app));
 * ```
 *
 * It calls the chain before Express's router, which costs each request some microseconds. Requests that the chain passes on, and its errors,
 * go to the next layers as usual. Other apps get the request as usual: those with another first layer, those with `x-powered-by` enabled,
 * and those of Express 4. Tools that trace an app by its layers do not see a chain that responds.
 *
 * @returns a listener. Its third argument, if given, is called like `next` of `app(req, res, next)`.
 * @throws {OptionsError} when `app` is not an Express app.
 */
export function expressListener(app: ExpressApp): (req: IncomingMessage, res: ServerResponse, done?: Next) => void {
  assertExpressApp('expressListener', app);
  const call = app as unknown as Routed;
  // Express 4 has layers of its own before the first one of the app.
  if ('lazyrouter' in app) return call;
  return function expresswayListener(req: ExpressRequest, res: ExpressResponse, done?: Next): void {
    // For a target without a path, Express's router calls no layer.
    const chain = req.url?.startsWith('/') && !app.enabled('x-powered-by') ? firstChain(call) : undefined;
    if (chain === undefined) {
      call(req, res, done);
      return;
    }
    let ran: RanChain | undefined;
    function next(error?: unknown): void {
      if (ran !== undefined) {
        ran.next?.(error);
        return;
      }
      ran = ranBefore(req, chain as Middleware, error);
      call(req, res, done);
    }
    // What Express and its router do before they call a layer.
    Object.setPrototypeOf(req, app.request);
    Object.setPrototypeOf(res, app.response);
    req.res = res;
    res.locals ??= Object.create(null) as object;
    req.next = next;
    req.baseUrl ||= '';
    req.originalUrl ||= req.url as string;
    req.params = {};
    chain(req, res, next);
  };
}

/** The chain that is the first layer of an app; `undefined` if the first layer is something else. */
function firstChain({ router }: Routed): Middleware | undefined {
  const first = router.stack[0];
  return first?.slash === true && isChain(first.handle) ? first.handle : undefined;
}
