import type { Filter, Options as HpmOptions } from 'http-proxy-middleware';
import { type BackendOptions, backendList } from '../backends/backend-url.ts';
import { type CircuitOptions, circuitChecks, circuitDefaults } from '../circuit-breaker/circuit.ts';
import { GatewayEvents } from '../core/events.ts';
import {
  anything,
  boolean,
  type Checks,
  durationMs,
  func,
  group,
  nonEmptyString,
  oneOf,
  optional,
} from '../core/options.ts';
import type { Outcome } from '../core/outcome.ts';
import type { ForwardedMode } from './forwarding-fields.ts';

export interface RoundRobinProxyOptions {
  /** The backends: origins, or origins with options; at least one, none twice. */
  backends: readonly (string | BackendOptions)[];
  /** The circuit that each backend has for itself. Default: {@link circuitDefaults}. */
  circuit?: CircuitOptions;
  /** Milliseconds to connect to a backend; then the next one is asked. Default 2 000. */
  connectTimeoutMs?: number;
  /** Milliseconds from the end of a request to the head of its answer; then 504. Default 15 000. */
  responseTimeoutMs?: number;
  /** Milliseconds without a byte; then the exchange is cut. Event streams and upgrades are exempt. Default 60 000. */
  idleTimeoutMs?: number;
  /**
   * `replace` sends the client's address alone as `X-Forwarded-For`; `append` adds to the list that a trusted peer
   * sent (an untrusted peer's is dropped in both). Default `replace`.
   */
  forwarded?: ForwardedMode;
  /** Pseudonym of this gateway in `Via` (RFC 9110 §7.6.3): says nothing about the machine. Default `expressway`. */
  via?: string;
  /** Send the backend's authority as `Host` instead of the client's. Default false. */
  changeOrigin?: boolean;
  /** Which requests to proxy, as in http-proxy-middleware; the others go to the next handler. Default all. */
  pathFilter?: Filter;
  /** Rewrites the path, as in http-proxy-middleware. Default none. */
  pathRewrite?: NonNullable<HpmOptions['pathRewrite']>;
  /** Replaces the rule that a failure and a status of 500 or more count against a backend. */
  isFailure?: (outcome: Outcome) => boolean;
  /** Where events go. Default: an emitter of its own, as `events`. */
  events?: GatewayEvents;
}

export const roundRobinProxyDefaults = Object.freeze({
  circuit: {},
  connectTimeoutMs: 2_000,
  responseTimeoutMs: 15_000,
  idleTimeoutMs: 60_000,
  forwarded: 'replace' as ForwardedMode,
  via: 'expressway',
  changeOrigin: false,
});

export const roundRobinProxyChecks: Checks<RoundRobinProxyOptions> = {
  backends: backendList,
  circuit: group(circuitDefaults, circuitChecks),
  connectTimeoutMs: durationMs,
  responseTimeoutMs: durationMs,
  idleTimeoutMs: durationMs,
  forwarded: oneOf('replace', 'append'),
  via: nonEmptyString,
  changeOrigin: boolean,
  pathFilter: anything,
  pathRewrite: anything,
  isFailure: optional(func),
  events: optional((value) => (value instanceof GatewayEvents ? undefined : 'must be a GatewayEvents')),
};
