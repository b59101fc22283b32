import type { ServerOptions } from 'node:http';
import { IncomingMessage, ServerResponse } from '../core/node-http.ts';

/** The part of an Express app that says what its requests and responses can do. */
export interface ExpressMessages {
  /** What all its requests inherit from. */
  readonly request: object;
  /** What all its responses inherit from. */
  readonly response: object;
}

/**
 * Options for the server of an Express app, so that requests and responses are made as what Express needs:
 *
 * ```ts
 * const server = createServer(expressServerOptions(app), app);
 * ```
 *
 * Express changes the prototypes of each request and response that are not, and V8 then looks for the shapes that the
 * changed objects have, at a cost of some microseconds per request. Nothing else is different. Works for `node:https` too,
 * and not for `node:http2`, whose requests are made in another way.
 */
export function expressServerOptions({ request, response }: ExpressMessages) {
  const options: Pick<ServerOptions, 'IncomingMessage' | 'ServerResponse'> = {
    IncomingMessage: inheriting(IncomingMessage, request),
    ServerResponse: inheriting(ServerResponse, response),
  };
  return options;
}

/** A class whose instances are made by another one, and inherit from an object that inherits from that one's. */
function inheriting<C extends typeof IncomingMessage | typeof ServerResponse>(base: C, prototype: object): C {
  function Message(...args: unknown[]): object {
    return Reflect.construct(base, args, Message);
  }
  // Of this class V8 knows how much room an instance needs.
  Object.setPrototypeOf(Message, base);
  Message.prototype = prototype;
  // TypeScript has no type for it: it makes instances of C, and has the static members of C by inheritance.
  return Message as unknown as C;
}
