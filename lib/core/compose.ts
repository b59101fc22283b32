import type { IncomingMessage, ServerResponse } from 'node:http';
import { isPromise, type Middleware, type Next } from './http.ts';
import { OptionsError } from './options.ts';
import { shownValue } from './shown-value.ts';

/** Every middleware that `app.use()` accepts: also those with Express's own types, and asynchronous ones. */
export type Composable = (req: never, res: never, next: never) => unknown;

/** The result of an asynchronous middleware. */
type Returned = PromiseLike<unknown> | undefined;

/** A chain that was called before the app's router. Its layer in the router only passes the result on. */
export interface RanChain {
  readonly chain: Middleware;
  readonly error: unknown;
  /** `next` of the layer, after the router has called it. */
  next: Next | undefined;
}

const kChain = Symbol('expressway.chain');
const kRan = Symbol('expressway.ranChain');

type Tagged = IncomingMessage & { [kRan]?: RanChain };

/** Whether a middleware was made by `compose()`. */
export const isChain = (handler: unknown): handler is Middleware =>
  typeof handler === 'function' && Object.hasOwn(handler, kChain);

/** Notes that a chain was called already, so that its layer in the router does not call it again. */
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
 * They work as if the app used them one by one. For Express they are one layer instead of five, and each layer costs every request a match of
 * the path and some objects (`docs/performance.md`). After an error (thrown, passed to `next`, or as a rejected promise, in Express 4 too),
 * `next('route')` or `next('router')`, the remaining middlewares are skipped, and Express handles it as usual. Tools that trace an app by its
 * layers see only one layer.
 *
 * @throws {OptionsError} that names each argument that is no middleware. Error handlers, with four parameters, belong into the app.
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

/** The error for a promise that is rejected without a reason, as in Express 5. Without an error, the request would seem to succeed. */
const unnamed = (): Error => new Error('Rejected promise');
