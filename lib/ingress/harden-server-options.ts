import { eventsCheck, type GatewayEvents } from '../core/gateway-events.ts';
import { type Checks, durationMs, func, integer, optional, optionalDurationMs } from '../core/options.ts';

/** Options of `hardenServer()`: limits of a server on the open internet. If 0 turns a limit off, no other limit replaces it. */
export interface HardenServerOptions {
  /**
   * Milliseconds in which a client must send the head of a request, and a new connection its first one; then 408. 0 for any time.
   * @default 15000
   */
  headTimeoutMs?: number;
  /**
   * Milliseconds for a whole request, body included; then 408. This is the last resort: `minReceiveBytesPerSecond` finds slow clients earlier. Calls of gRPC
   * may take any time. 0 for any time.
   * @default 3600000
   */
  requestTimeoutMs?: number;
  /**
   * Milliseconds for which a connection may wait for its next request. Set a longer time than the load balancer in front has.
   * @default 65000
   */
  keepAliveTimeoutMs?: number;
  /**
   * Bytes of the head of a request, as Node counts them (Node 22 does not count separators between names and values); then 431, or 414
   * if the target alone is too long.
   * @default 16384
   */
  maxHeadBytes?: number;
  /**
   * Headers of a request. With more, `requestGuard()` and `roundRobinProxy()` send 431. An app without these two gets only the first headers.
   * @default 100
   */
  maxFields?: number;
  /**
   * Bytes of the target of a request (path and query). For a longer one, `requestGuard()` and `roundRobinProxy()` send 414. 0 for any length.
   * @default 8192
   */
  maxTargetBytes?: number;
  /**
   * Requests on one connection. The last response closes it, and further requests get 503. 0 for any number.
   * @default 10000
   */
  maxRequestsPerConnection?: number;
  /**
   * Requests in progress on one connection. Further requests that a client sends ahead (pipelining) wait until one of them has ended. With
   * 0 there is no limit, a request line without a version waits for `headTimeoutMs`, and chunk extensions are limited per chunk only.
   * @default 1
   */
  maxRequestsInProgress?: number;
  /**
   * Connections at a time; the server closes more at once. 0 for any number.
   * @default 10000
   */
  maxConnections?: number;
  /**
   * Connections of one peer address at a time, or of one public IPv6 network (/56); the server closes more at once. 0 for any number.
   * @default 1000
   */
  maxConnectionsPerAddress?: number;
  /**
   * Exempts peers from `maxConnectionsPerAddress`, such as proxies in front, which bring many clients. To exempt the proxies that an app
   * trusts: `(address) => app.get('trust proxy fn')(address, 0)`. Default: none.
   */
  isUncapped?: (address: string) => boolean;
  /**
   * Bytes per second that a client must send while the server waits for the body of its request; else 408. A client may be slower, or send
   * nothing, for `receiveGraceMs`. Time in which the server itself does not read does not count. 0 for any rate.
   * @default 240
   */
  minReceiveBytesPerSecond?: number;
  /**
   * Milliseconds for which a client may send nothing; twice as long when it sends at half of the rate.
   * @default 20000
   */
  receiveGraceMs?: number;
  /**
   * Milliseconds in which a client must read some of a response that waits for it; then the server cuts the connection. A response without
   * unread bytes, like a quiet event stream, may take any time. The server notices a read only when a third of the kernel's buffer is free
   * (by default at most 1.3 MB on Linux). So a client that steadily reads less than 25 KB/s may be cut, too. 0 for any time.
   * @default 60000
   */
  sendTimeoutMs?: number;
  /**
   * Milliseconds between two checks of all these times.
   * @default 1000
   */
  checkIntervalMs?: number;
  /** Emitter of the event `clientRefused`. Default: none. */
  events?: GatewayEvents;
}

/** Defaults of {@link HardenServerOptions}. */
export const hardenServerDefaults = Object.freeze({
  headTimeoutMs: 15_000,
  requestTimeoutMs: 3_600_000,
  keepAliveTimeoutMs: 65_000,
  maxHeadBytes: 16_384,
  maxFields: 100,
  maxTargetBytes: 8_192,
  maxRequestsPerConnection: 10_000,
  maxRequestsInProgress: 1,
  maxConnections: 10_000,
  maxConnectionsPerAddress: 1_000,
  minReceiveBytesPerSecond: 240,
  receiveGraceMs: 20_000,
  sendTimeoutMs: 60_000,
  checkIntervalMs: 1_000,
});

export type HardenServerSettings = HardenServerOptions & typeof hardenServerDefaults;

/** Enough for a request line and a few headers. */
const LEAST_HEAD_BYTES = 1_024;
/** Node's parser counts each header twice, in 32 bits. */
const MOST_FIELDS = 1_000_000;

export const hardenServerChecks: Checks<HardenServerOptions> = {
  headTimeoutMs: optionalDurationMs,
  requestTimeoutMs: optionalDurationMs,
  keepAliveTimeoutMs: durationMs,
  maxHeadBytes: integer(LEAST_HEAD_BYTES, 2 ** 31 - 1),
  maxFields: integer(1, MOST_FIELDS),
  maxTargetBytes: integer(0),
  maxRequestsPerConnection: integer(0),
  maxRequestsInProgress: integer(0),
  maxConnections: integer(0),
  maxConnectionsPerAddress: integer(0),
  isUncapped: optional(func),
  minReceiveBytesPerSecond: integer(0),
  receiveGraceMs: durationMs,
  sendTimeoutMs: optionalDurationMs,
  checkIntervalMs: durationMs,
  events: optional(eventsCheck),
};
