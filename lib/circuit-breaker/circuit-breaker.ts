import type { CircuitStateChangeEvent, CircuitStateName } from '../core/events.ts';
import { eventsCheck, GatewayEvents } from '../core/events.ts';
import { exchangeOf } from '../core/exchange.ts';
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
import type { Outcome, Rejected } from '../core/outcome.ts';
import { sendProblem } from '../core/problem.ts';
import { Circuit, type CircuitOptions, circuitChecks, circuitDefaults, type Isolation } from './circuit.ts';
import { GuardedCall, type GuardRules } from './guarded-call.ts';

export { type CircuitOptions, circuitChecks, circuitDefaults, type Isolation } from './circuit.ts';

/** Options of {@link circuitBreaker}. */
export interface CircuitBreakerOptions extends CircuitOptions {
  /** What the circuit is called in events, metrics and logs. Default `route`. */
  name?: string;
  /**
   * Milliseconds that the guarded handler has to send a response head; then the client gets 504, the call counts as
   * a failure and what the handler still sends is dropped. Content that takes longer, event streams and
   * upgrades are not cut. 0 for no limit. Default 0.
   */
  timeoutMs?: number;
  /**
   * Whether a completed or failed call counts as a failure, instead of the rule that a failure and a status of 500
   * or more do. Not asked about clients that left and refusals of the gateway: they count for nothing. Where it throws, that
   * rule stands, and a process warning says so, once. Default: none.
   */
  isFailure?: (outcome: Outcome) => boolean;
  /** Is told of each change of state of this circuit. An error that it throws becomes a process warning. Default: nobody. */
  onStateChange?: (change: CircuitStateChangeEvent) => void;
  /** Where events go. Default: an emitter of its own, as `events`. */
  events?: GatewayEvents;
}

/** A circuit breaker in front of whatever is mounted after it. */
export interface CircuitBreaker extends Middleware {
  readonly name: string;
  readonly state: CircuitStateName;
  readonly events: GatewayEvents;
  /** Milliseconds until the next request is worth sending; 0 when it would be admitted now. */
  retryAfterMs(): number;
  /** Rejects every request until disposed of; then the circuit is closed, with nothing counted. */
  isolate(): Isolation;
}

/** Defaults of {@link CircuitBreakerOptions}. */
export const circuitBreakerDefaults = Object.freeze({ ...circuitDefaults, name: 'route', timeoutMs: 0 });

const checks: Checks<CircuitBreakerOptions> = {
  ...circuitChecks,
  name: nonEmptyString,
  timeoutMs: optionalDurationMs,
  isFailure: optional(func),
  onStateChange: optional(func),
  events: optional(eventsCheck),
};

/** Of opossum and cockatiel. */
const foreign: ForeignOptions = Object.freeze({
  timeout: 'use timeoutMs',
  errorThresholdPercentage: 'use failureRatio, from 0 to 1',
  threshold: 'use failureRatio',
  resetTimeout: 'use openMs',
  halfOpenAfter: 'use openMs',
  volumeThreshold: 'use minimumRequests',
  rollingCountTimeout: 'use windowMs',
  errorFilter: 'use isFailure',
});

/**
 * Guards whatever is mounted after it. Counts how requests end; when too large a share of them fails it opens, and
 * answers 503 with `Retry-After` in the handler's place, until some trials have gone well.
 *
 * A status of 500 or more counts as a failure (an error that reaches Express becomes one). A client that leaves,
 * and a refusal by what is mounted after it, count for nothing.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function circuitBreaker(given?: CircuitBreakerOptions): CircuitBreaker {
  const options = resolveOptions('circuitBreaker', given, circuitBreakerDefaults, checks, foreign);
  const events = options.events ?? new GatewayEvents();
  const { name, timeoutMs, isFailure } = options;
  const rules: GuardRules = { name, timeoutMs, isFailure, events };
  const circuit = new Circuit(options.name, options);
  // An emitter for one listener: it turns what that throws into a warning.
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
    const outcome: Rejected = { kind: 'rejected', cause: 'circuit_open', retryAfterMs };
    exchange.settle(outcome);
    events.emit('rejected', { exchange, outcome });
    sendProblem(res, 'circuit_open', { retryAfterMs });
  };
  // `name` and `state` cannot be assigned: a function's name is read-only, and a state copied once would stay.
  return Object.defineProperties(middleware, {
    name: { value: circuit.name },
    state: { get: () => circuit.state },
    events: { value: events },
    retryAfterMs: { value: () => circuit.retryAfterMs() },
    isolate: { value: () => circuit.isolate() },
  }) as CircuitBreaker;
}
