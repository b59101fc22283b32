import type { IncomingMessage, ServerResponse } from 'node:http';
import { isChain, type RanChain, ranBefore } from '../core/compose.ts';
import type { GatewayRequest, Middleware, Next } from '../core/http.ts';
import type { ExpressMessages } from './express-server-options.ts';

/** An Express app, as far as it is used here. */
export interface ExpressApp extends ExpressMessages {
  (req: never, res: never, next?: never): unknown;
  /** Of Express's settings. */
  enabled(setting: string): boolean;
}

/** A layer of Express's router. */
interface Layer {
  readonly handle: unknown;
  /** Whether it is for all paths. */
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
 * It calls the chain before Express's router, which costs each request some microseconds. What the chain passes on, and its errors, go
 * to the layers behind it, as without this. Any other app is called as it is: one with another first layer, one with
 * `x-powered-by` enabled, and one of Express 4. Tools that trace an app by its layers do not see a chain that responds.
 *
 * @returns a listener; with a third argument, that gets what the app passes on, as with `app(req, res, next)`.
 */
export function expressListener(app: ExpressApp): (req: IncomingMessage, res: ServerResponse, done?: Next) => void {
  const call = app as unknown as Routed;
  // Express 4 has layers of its own before the first one of the app.
  if ('lazyrouter' in app) return call;
  return function expresswayListener(req: ExpressRequest, res: ExpressResponse, done?: Next): void {
    // Of a target without a path, Express's router shows nothing to any layer.
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

/** The chain that an app calls first, if it does. */
function firstChain({ router }: Routed): Middleware | undefined {
  const first = router.stack[0];
  return first?.slash === true && isChain(first.handle) ? first.handle : undefined;
}
