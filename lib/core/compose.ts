import type { IncomingMessage, ServerResponse } from 'node:http';
import { isPromise, type Middleware, type Next } from './http.ts';
import { OptionsError } from './options.ts';
import { shownValue } from './shown-value.ts';

/** Whatever `app.use()` takes for all requests: also those of Express's own types, and asynchronous ones. */
export type Composable = (req: never, res: never, next: never) => unknown;

/** What a middleware gives when it is asynchronous. */
type Returned = PromiseLike<unknown> | undefined;

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

  return function expresswayChain(req: IncomingMessage, res: ServerResponse, done: Next): void {
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
  };
}

/** As Express 5 says of a promise that is rejected without a reason: without one, it would seem to have gone well. */
const unnamed = (): Error => new Error('Rejected promise');
