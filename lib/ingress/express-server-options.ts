import type { ServerOptions } from 'node:http';
import { IncomingMessage, ServerResponse } from '../core/node-http.ts';
import { OptionsError } from '../core/options.ts';
import { shownValue } from '../core/shown-value.ts';

/** The prototypes of an Express app's requests and responses. */
export interface ExpressMessages {
  /** The prototype of all its requests. */
  readonly request: object;
  /** The prototype of all its responses. */
  readonly response: object;
}

/**
 * Options for the server of an Express app. With them, the server creates requests and responses with Express's prototypes:
 *
 * ```ts
 * const server = createServer(expressServerOptions(app), app);
 * ```
 *
 * Otherwise Express changes the prototype of each request and response, and V8 has to find the new shapes of these objects, which costs some
 * microseconds per request. Nothing else differs. Works for `node:https` too, but not for `node:http2`, which creates its requests in another
 * way.
 *
 * @throws {OptionsError} when `app` is not an Express app.
 */
export function expressServerOptions(app: ExpressMessages) {
  assertExpressApp('expressServerOptions', app);
  const { request, response } = app;
  const options: Pick<ServerOptions, 'IncomingMessage' | 'ServerResponse'> = {
    IncomingMessage: inheriting(IncomingMessage, request),
    ServerResponse: inheriting(ServerResponse, response),
  };
  return options;
}

/** @throws {OptionsError} that names the value that is not an Express app. */
export function assertExpressApp(subject: string, app: unknown): void {
  const { request, response } = (app ?? {}) as Partial<ExpressMessages>;
  if (typeof request === 'object' && typeof response === 'object') return;
  throw new OptionsError(subject, [`app must be an Express app, as express() returns it, got ${shownValue(app)}`]);
}

/** A class whose instances are created by another class and have the given prototype. */
function inheriting<C extends typeof IncomingMessage | typeof ServerResponse>(base: C, prototype: object): C {
  function Message(...args: unknown[]): object {
    return Reflect.construct(base, args, Message);
  }
  // For a class, V8 knows the size of an instance.
  Object.setPrototypeOf(Message, base);
  Message.prototype = prototype;
  // TypeScript has no type for this: it creates instances of C, and inherits the static members of C.
  return Message as unknown as C;
}
