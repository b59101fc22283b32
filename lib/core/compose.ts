import type { IncomingMessage, ServerResponse } from 'node:http';
import { isPromise, type Middleware, type Next } from './http.ts';
import { OptionsError } from './options.ts';
import { shownValue } from './shown-value.ts';

/** Whatever `app.use()` takes for all requests: also those of Express's own types, and asynchronous ones. */
export type Composable = (req: never, res: never, next: never) => unknown;

/** What a middleware gives when it is asynchronous. */
type Returned = PromiseLike<unknown> | undefined;

/** A chain that was called before the app's router: the layer of the router only passes on what it came to. */
export interface RanChain {
  readonly chain: Middleware;
  readonly error: unknown;
  /** Of the layer, once the router has called it. */
  next: Next | undefined;
}

const kChain = Symbol('expressway.chain');
const kRan = Symbol('expressway.ranChain');

type Tagged = IncomingMessage & { [kRan]?: RanChain };

/** Whether a middleware was made by `compose()`. */
export const isChain = (handler: unknown): handler is Middleware =>
  typeof handler === 'function' && Object.hasOwn(handler, kChain);

/** The router's layer for this chain is not to call it again. */
export function ranBefore(req: IncomingMessage, chain: Middleware, error: unknown): RanChain {
  const ran: RanChain = { chain, error, next: undefined };
  (req as Tagged)[kRan] = ran;
  return ran;
}

/**
 * Several middlewares as one, in their order:
 *
 * ```ts
 * app.use(compose(observability({ metrics }), requestGuard(), limiter, breaker, proxy));
 * ```
 *
 * They do what they do when the app uses them one by one. To Express they are one layer instead of five, and each layer costs
 * every request a match of the path and some objects (`docs/performance.md`). An error (thrown, given to `next`, or as a rejected
 * promise, in Express 4 too) goes past those that follow to the app's error handlers; so do `next('route')` and `next('router')`.
 * Tools that trace an app by its layers see this one only.
 *
 * @throws {OptionsError} that names each argument that is no middleware: error handlers, with four parameters, are the app's.
 */
export function compose(...middlewares: readonly Composable[]): Middleware {
  const problems = middlewares.flatMap((one: unknown, index) =>
    typeof one === 'function' && one.length < 4
      ? []
      : [`argument ${index + 1} must be a middleware (req, res, next), got ${shownValue(one)}`],
  );
  if (problems.length > 0) throw new OptionsError('compose', problems);
  const chain = middlewares as readonly ((req: IncomingMessage, res: ServerResponse, next: Next) => Returned)[];

  function expresswayChain(req: IncomingMessage, res: ServerResponse, done: Next): void {
    const ran = (req as Tagged)[kRan];
    if (ran?.chain === expresswayChain && ran.next === undefined) {
      ran.next = done;
      done(ran.error);
      return;
    }
    let at = 0;
    function next(error?: unknown): void {
      const middleware = error ? undefined : chain[at];
      if (middleware === undefined) {
        done(error);
        return;
      }
      at += 1;
      try {
        const returned = middleware(req, res, next);
        if (isPromise(returned)) returned.then(undefined, (reason) => next(reason || unnamed()));
      } catch (thrown) {
        next(thrown);
      }
    }
    next();
  }
  return Object.assign(expresswayChain, { [kChain]: true });
}

/** As Express 5 says of a promise that is rejected without a reason: without one, it would seem to have gone well. */
const unnamed = (): Error => new Error('Rejected promise');
