import type { ServerOptions } from 'node:https';
import { eventsCheck, type GatewayEvents } from '../../core/gateway-events.ts';
import { type Checks, type ForeignOptions, integer, isPlainObject, optional } from '../../core/options.ts';

/** Options of `http2Server()`. */
export interface Http2ServerOptions {
  /** Options of `node:https` such as `cert` and `key`. Required with an app, not allowed with a server. Default: none. */
  tls?: ServerOptions;
  /**
   * Requests in progress on one connection. Clients get this limit, and wait. A client that ignores it loses the connection.
   * @default 100
   */
  maxConcurrentStreams?: number;
  /**
   * Streams of one connection that may end within 10 seconds without a complete response, because the client resets
   * them or breaks the protocol ("rapid reset"). With more, the server closes the connection, if they are at least
   * half of its streams. 0 for no limit.
   * @default 200
   */
  maxResets?: number;
  /** Emitter of the event `clientRefused`. Default: none. */
  events?: GatewayEvents;
}

/** Defaults of {@link Http2ServerOptions}. */
export const http2ServerDefaults = Object.freeze({ maxConcurrentStreams: 100, maxResets: 200 });

export type Http2ServerSettings = Http2ServerOptions & typeof http2ServerDefaults;

/** RFC 9113 §6.5.2: a setting has 32 bits, but a stream identifier only 31. */
const MOST_STREAMS = 2 ** 31 - 1;

const OF_TLS = 'put it into tls';

/** Options of `node:https`, which have a place of their own. */
export const foreignHttp2Options: ForeignOptions = Object.freeze({
  key: OF_TLS,
  cert: OF_TLS,
  ca: OF_TLS,
  pfx: OF_TLS,
  passphrase: OF_TLS,
  allowHTTP1: 'HTTP/1.1 is always allowed',
});

export const http2ServerChecks: Checks<Http2ServerOptions> = {
  tls: optional((value) => (isPlainObject(value) ? undefined : 'must be an object with options of node:https')),
  maxConcurrentStreams: integer(1, MOST_STREAMS),
  maxResets: integer(0),
  events: optional(eventsCheck),
};
