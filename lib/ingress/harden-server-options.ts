import { eventsCheck, type GatewayEvents } from '../core/events.ts';
import { type Checks, durationMs, func, integer, optional, optionalDurationMs } from '../core/options.ts';

/** Bounds of a server on the open internet. Where 0 is said to switch a bound off, nothing else takes its place. */
export interface HardenServerOptions {
  /** Milliseconds for a request's head, and for a new connection to send one; then 408. 0 for any time. Default 15 000. */
  headTimeoutMs?: number;
  /**
   * Milliseconds for a whole request, content included; then 408. Slow clients are seen to by `minReceiveBytesPerSecond`:
   * this is the last resort. 0 for any time. Default 3 600 000.
   */
  requestTimeoutMs?: number;
  /** Milliseconds that a connection may wait for its next request: more than any load balancer in front. Default 65 000. */
  keepAliveTimeoutMs?: number;
  /**
   * Bytes of a request's head, as Node counts them (22 leaves out what is between names and values); then 431, or 414 when
   * not even the target fits. Default 16 384.
   */
  maxHeadBytes?: number;
  /**
   * Fields of a request; `requestGuard()` and `roundRobinProxy()` answer 431 to one with more. Without them an app sees the
   * first of them only. Default 100.
   */
  maxFields?: number;
  /** Bytes of a request's target; then `requestGuard()` and `roundRobinProxy()` answer 414. 0 for any. Default 8 192. */
  maxTargetBytes?: number;
  /** Requests on one connection: the last answer closes it, and more get 503. 0 for any number. Default 10 000. */
  maxRequestsPerConnection?: number;
  /**
   * Requests in progress on one connection; a client that sends more of them ahead (pipelining) is not read from until there is room. With
   * 0 there is no limit, a request line without a version waits for `headTimeoutMs`, and chunk extensions are bounded per chunk only. Default 1.
   */
  maxRequestsInProgress?: number;
  /** Connections at a time; more are closed at once. 0 for any number. Default 10 000. */
  maxConnections?: number;
  /** Those of one peer address; more are closed at once. 0 for any number. Default 1 000. */
  maxConnectionsPerAddress?: number;
  /**
   * Peers without a cap of their own, such as proxies in front, which bring many clients. For those that an app trusts:
   * `(address) => app.get('trust proxy fn')(address, 0)`. Default: none.
   */
  isUncapped?: (address: string) => boolean;
  /**
   * Bytes a second that a client must send while its request's content is awaited; then 408. It may fall behind, or
   * be silent, for as long as `receiveGraceMs`. Time in which the gateway itself does not read is not counted. 0 for
   * any rate. Default 240.
   */
  minReceiveBytesPerSecond?: number;
  /** Milliseconds for which a client may send nothing; twice as long when it sends half of what it must. Default 20 000. */
  receiveGraceMs?: number;
  /**
   * Milliseconds in which a client must take some of an answer that waits for it; then its connection is cut. Answers of
   * which nothing waits, like a quiet event stream, may take any time. 0 for any time. Default 60 000.
   */
  sendTimeoutMs?: number;
  /** Milliseconds between two looks at all of these times. Default 1 000. */
  checkIntervalMs?: number;
  /** Where `clientRefused` goes. Default: nowhere. */
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

/** Where a request line and a few fields fit in. */
const LEAST_HEAD_BYTES = 1_024;
/** Node's parser counts the fields it was given in 32 bits, twice each. */
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
