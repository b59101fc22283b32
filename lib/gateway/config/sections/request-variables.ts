import type { AmbiguousPaths } from '../../../index.ts';
import { durationMs, durationMsOrZero, integer, oneOf, onOrOff, section } from '../variable.ts';

export interface RequestsConfig {
  /** Largest body of a request, in bytes; 0 for any size. */
  readonly maxBodyBytes: number;
  readonly ambiguousPaths: AmbiguousPaths;
  /** Whether several slashes in a row in a path become one. */
  readonly mergeSlashes: boolean;
  /** Milliseconds by which the event loop may run late before requests are rejected; 0 for any time. */
  readonly maxDelayMs: number;
  /** Bounds for clients and their connections. */
  readonly bounds: {
    readonly headTimeoutMs: number;
    readonly requestTimeoutMs: number;
    readonly maxTargetBytes: number;
    readonly keepAliveTimeoutMs: number;
    readonly maxConnections: number;
    readonly maxConnectionsPerAddress: number;
  };
}

/** Default of `MAX_CONNECTIONS`. */
export const DEFAULT_MAX_CONNECTIONS = 10_000;

export const requests = section(
  'Requests and connections of clients',
  {
    MAX_BODY_BYTES: {
      text: `Bytes of the body of a request; more gets 413. 0 is any number. With GATEWAY_CONFIG it is the default of all services:
        maxBodyBytes of a service or a route wins.`,
      default: '10485760',
      read: integer(0, Number.MAX_SAFE_INTEGER),
    },
    MAX_TARGET_BYTES: {
      text: 'Bytes of the target of a request (path and query); more gets 414. 0 is any number that fits into a head of 16 KiB.',
      default: '8192',
      read: integer(0),
    },
    AMBIGUOUS_PATHS: {
      text: `Paths that servers read in different ways (%5C, %00, .., \\ and the like): reject (400), strict (400 to %2F too, which reject
        lets pass as a part of a name, as npm and S3 clients send it) or pass (all of them).`,
      default: 'reject',
      read: oneOf('reject', 'strict', 'pass'),
      isOfOneService: true,
    },
    MERGE_SLASHES: {
      text: 'Whether several slashes in a row in a path become one (on), or stay (off), as S3 keys may need it.',
      default: 'on',
      read: onOrOff,
      isOfOneService: true,
    },
    LOAD_SHEDDING_DELAY_MS: {
      text: `How late the event loop of the process may run, in milliseconds. When it runs later than that for 100 ms, more requests come than
        the process can serve, and a part of them gets 503 with Retry-After until it does not (docs/overload.md). 0 rejects none.`,
      default: '100',
      read: durationMsOrZero,
    },
    HEAD_TIMEOUT_MS: {
      text: 'How long a client may take to send the head of a request, in milliseconds; 0 is for ever.',
      default: '15000',
      read: durationMsOrZero,
    },
    REQUEST_TIMEOUT_MS: {
      text: `How long a client may take to send a whole request, body included, in milliseconds: longer than the longest upload. Clients that
        send less than 240 bytes per second get 408 much earlier. 0 is for ever.`,
      default: '3600000',
      read: durationMsOrZero,
    },
    KEEP_ALIVE_TIMEOUT_MS: {
      text: `How long a connection may wait for its next request, in milliseconds: longer than a load balancer in front keeps it.`,
      default: '65000',
      read: durationMs,
    },
    MAX_CONNECTIONS: {
      text: `Connections of clients at a time; more are closed at once. 0 is any number. Workers have equal parts of this and the next
        number. At the start the gateway lowers it to what the limit of open files allows (ulimit -n), and logs that.`,
      default: String(DEFAULT_MAX_CONNECTIONS),
      read: integer(0),
    },
    MAX_CONNECTIONS_PER_ADDRESS: {
      text: 'Connections of one client address, or public IPv6 network (/56), at a time; the proxies that TRUST_PROXY names may have any number. 0 is any number for all.',
      default: '1000',
      read: integer(0),
    },
  },
  (read): RequestsConfig => ({
    maxBodyBytes: read.MAX_BODY_BYTES,
    ambiguousPaths: read.AMBIGUOUS_PATHS,
    mergeSlashes: read.MERGE_SLASHES,
    maxDelayMs: read.LOAD_SHEDDING_DELAY_MS,
    bounds: {
      headTimeoutMs: read.HEAD_TIMEOUT_MS,
      requestTimeoutMs: read.REQUEST_TIMEOUT_MS,
      maxTargetBytes: read.MAX_TARGET_BYTES,
      keepAliveTimeoutMs: read.KEEP_ALIVE_TIMEOUT_MS,
      maxConnections: read.MAX_CONNECTIONS,
      maxConnectionsPerAddress: read.MAX_CONNECTIONS_PER_ADDRESS,
    },
  }),
);
