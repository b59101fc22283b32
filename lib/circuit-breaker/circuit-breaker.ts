import type { CircuitStateChangeEvent, CircuitStateName } from '../core/events.ts';
import { exchangeOf } from '../core/exchange.ts';
import { eventsCheck, GatewayEvents } from '../core/gateway-events.ts';
import type { Middleware } from '../core/http.ts';
import {
  type Checks,
  type ForeignOptions,
  func,
  nonEmptyString,
  optional,
  optionalDurationMs,
  resolveOptions,
} from '../core/options.ts';
import { failureByStatus, type Outcome } from '../core/outcome.ts';
import { reject } from '../core/reject.ts';
import { Circuit, type CircuitOptions, circuitChecks, circuitDefaults, type Isolation } from './circuit.ts';
import { GuardedCall, type GuardRules } from './guarded-call.ts';

export { type CircuitOptions, circuitChecks, circuitDefaults, type Isolation } from './circuit.ts';

/** Options of {@link circuitBreaker}. */
export interface CircuitBreakerOptions extends CircuitOptions {
  /** Name of the circuit in events, metrics and logs. Default `route`. */
  name?: string;
  /**
   * Milliseconds within which the guarded handler must send a response head. After that the client gets 504, the call counts as a failure, and
   * the later response of the handler is dropped. Slow bodies, event streams and upgrades are not cut. 0 for no limit. Default 0.
   */
  timeoutMs?: number;
  /**
   * Whether a completed or failed call counts as a failure. It replaces the rule that a failure and a status of 500 or more count. It is not
   * called for clients that left and for rejections by the gateway, which do not count. If it throws, the rule applies, and one process
   * warning says so. Default: none.
   */
  isFailure?: (outcome: Outcome) => boolean;
  /** Called on each change of state of this circuit. An error that it throws becomes a process warning. Default: none. */
  onStateChange?: (change: CircuitStateChangeEvent) => void;
  /** Emitter of the events. Default: a new one, as `events` of the result. */
  events?: GatewayEvents;
}

/** A circuit breaker for the handlers that are mounted after it. */
export interface CircuitBreaker extends Middleware {
  readonly name: string;
  readonly state: CircuitStateName;
  readonly events: GatewayEvents;
  /** Milliseconds until the circuit may admit a request; 0 when it would admit one now. */
  retryAfterMs(): number;
  /** Rejects every request until the isolation is disposed of; then the circuit closes with no counts. */
  isolate(): Isolation;
}

/** Defaults of {@link CircuitBreakerOptions}. */
export const circuitBreakerDefaults = Object.freeze({ ...circuitDefaults, name: 'route', timeoutMs: 0 });

export const circuitBreakerChecks: Checks<CircuitBreakerOptions> = {
  ...circuitChecks,
  name: nonEmptyString,
  timeoutMs: optionalDurationMs,
  isFailure: optional(func),
  onStateChange: optional(func),
  events: optional(eventsCheck),
};

/** Options of opossum and cockatiel that users may try here. */
const foreign: ForeignOptions = Object.freeze({
  timeout: 'use timeoutMs',
  errorThresholdPercentage: 'use failureRatio, from 0 to 1',
  threshold: 'use failureRatio',
  resetTimeout: 'use openMs',
  halfOpenAfter: 'use openMs',
  volumeThreshold: 'use minimumRequests',
  rollingCountTimeout: 'use windowMs',
  errorFilter: 'use isFailure, which says the opposite: true for an outcome that counts',
  capacity: 'use maxRequests or maxInFlight of roundRobinProxy()',
  fallback: 'mount a handler before the breaker that responds while retryAfterMs() is over 0',
});

/**
 * Guards the handlers that are mounted after it. When too large a share of the requests fails, it opens: clients get 503 with
 * `Retry-After`, and the handlers get no requests, until some trials have succeeded.
 *
 * A status of 500 or more counts as a failure; an error that reaches Express becomes such a status, unless an error handler sends another one. A response that the handler breaks off, such as by
 * `pipeline()` with an error or `res.destroy()`, counts as well. A client that leaves does not count, and neither does a rejection by a middleware
 * that is mounted after it.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function circuitBreaker(given?: CircuitBreakerOptions): CircuitBreaker {
  const options = resolveOptions('circuitBreaker', given, circuitBreakerDefaults, circuitBreakerChecks, foreign);
  const events = options.events ?? new GatewayEvents();
  const { name, timeoutMs, isFailure = failureByStatus(options.failureStatuses) } = options;
  const rules: GuardRules = { name, timeoutMs, isFailure, events };
  const circuit = new Circuit(options.name, options);
  // Its own emitter, which turns an error of the listener into a warning.
  const own = new GatewayEvents();
  if (options.onStateChange !== undefined) own.on('circuitStateChange', options.onStateChange);
  circuit.onStateChange((from, to, retryAfterMs) => {
    const change: CircuitStateChangeEvent = { circuit: circuit.name, from, to, retryAfterMs };
    own.emit('circuitStateChange', change);
    events.emit('circuitStateChange', change);
  });

  const middleware: Middleware = function expresswayCircuitBreaker(req, res, next) {
    const exchange = exchangeOf(req, res);
    const permit = circuit.tryAcquire();
    if (permit !== undefined) {
      new GuardedCall(exchange, permit, rules).watch();
      next();
      return;
    }
    const retryAfterMs = circuit.retryAfterMs();
    reject(exchange, { kind: 'rejected', cause: 'circuit_open', retryAfterMs }, events);
  };
  // An assignment would fail for the read-only name of a function, and an assigned state would never change.
  return Object.defineProperties(middleware, {
    name: { value: circuit.name },
    state: { get: () => circuit.state },
    events: { value: events },
    retryAfterMs: { value: () => circuit.retryAfterMs() },
    isolate: { value: () => circuit.isolate() },
  }) as CircuitBreaker;
}
