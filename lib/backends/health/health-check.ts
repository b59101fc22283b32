import { deadline, jittered } from '../../core/delay.ts';
import type { CircuitStateName, HealthVerdict } from '../../core/events.ts';
import { notPromise } from '../../core/http.ts';
import { thrown } from '../../core/warnings.ts';
import type { Backend } from '../backend.ts';
import { shortageOf } from './gateway-resources.ts';
import type { ResolvedHealthCheckOptions } from './health-check-options.ts';

export interface ProbeOptions {
  readonly path: string;
  /** Beside those that every check has, and before them. */
  readonly headers: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  /** Aborted at the timeout or when the check is closed. The probe must then settle at once. */
  readonly signal: AbortSignal;
}

export interface ProbeAnswer {
  readonly status: number;
  readonly content: string;
}

/** Sends one health check on a new connection. It never rejects: it resolves with the error. */
export type Probe = (backend: Backend, options: ProbeOptions) => Promise<ProbeAnswer | Error>;

export interface HealthCheckRules extends ResolvedHealthCheckOptions {
  /** Milliseconds for which failed checks may delay the trials of an open circuit. */
  readonly maxHoldMs: number;
}

/** Called after each change of verdict. `error` is the error of the last check. */
export type VerdictListener = (
  backend: Backend,
  from: HealthVerdict,
  to: HealthVerdict,
  error: Error | undefined,
) => void;

/** Called at the end of each check, before the verdict. */
export type CheckListener = (backend: Backend, error: Error | undefined) => void;

/**
 * The health checks of one backend, one at a time. They write its verdict. While its circuit is open, failed checks delay the
 * trials: a trial costs a client's request, a check does not.
 */
export class HealthCheck {
  readonly #backend: Backend;
  readonly #rules: HealthCheckRules;
  readonly #probe: Probe;
  readonly #onVerdict: VerdictListener;
  readonly #onCheck: CheckListener | undefined;
  readonly #unsubscribe: () => void;
  /** Timer for the next check, or for the timeout of the running one. */
  #timer: NodeJS.Timeout | undefined;
  #stopTimeout = (): void => {};
  #running: AbortController | undefined;
  /** Whether the circuit opened during the running check. Then its result says nothing about the time since. */
  #isStale = false;
  #openSince = 0;
  #closed = false;
  /** Whether the backend refused the connection of the latest check. Then one passed check is enough. */
  #wasAway = false;
  #passes = 0;
  #failures = 0;

  constructor(
    backend: Backend,
    rules: HealthCheckRules,
    probe: Probe,
    onVerdict: VerdictListener,
    onCheck?: CheckListener,
  ) {
    this.#backend = backend;
    this.#rules = rules;
    this.#probe = probe;
    this.#onVerdict = onVerdict;
    this.#onCheck = onCheck;
    this.#unsubscribe = backend.circuit.onStateChange((_from, to) => this.#circuitChanged(to));
  }

  start(delayMs: number): void {
    this.#wait(delayMs);
  }

  /** Aborts a running check, without a result. */
  close(): void {
    this.#closed = true;
    this.#unsubscribe();
    clearTimeout(this.#timer);
    this.#stopTimeout();
    const running = this.#running;
    this.#running = undefined;
    running?.abort();
    // The backend may come back to the pool later, without checks in between.
    this.#backend.health.verdict = 'unknown';
    this.#backend.health.holdsTrials = false;
  }

  #circuitChanged(to: CircuitStateName): void {
    const { health } = this.#backend;
    health.holdsTrials = to === 'open';
    // Its circuit closed, but it gets requests only after a passed check. So the check runs now.
    if (to === 'closed' && health.verdict === 'unhealthy' && this.#running === undefined) this.#wait(0);
    if (to !== 'open') return;
    this.#openSince = Date.now();
    this.#isStale = this.#running !== undefined;
    // The trial waits for a check, and the next one may be far away.
    if (!this.#isStale) this.#wait(0);
  }

  #wait(delayMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#check(), delayMs).unref();
  }

  async #check(): Promise<void> {
    const { path, headers, timeoutMs } = this.#rules;
    const running = new AbortController();
    this.#running = running;
    this.#isStale = false;
    const late = new Error(`the health check took longer than ${timeoutMs} ms`);
    this.#stopTimeout = deadline(timeoutMs, () => running.abort(late));
    const answer = await this.#probe(this.#backend, { path, headers, timeoutMs, signal: running.signal });
    if (this.#running !== running) return;
    this.#stopTimeout();
    this.#running = undefined;
    // The error of an aborted probe is only a consequence of the timeout.
    const error = running.signal.aborted ? late : this.#problemWith(answer);
    if (error === undefined) this.#backend.timeouts.showedLife();
    this.#holdTrials(error);
    // A check that the gateway could not send tells nothing about the backend.
    if (error === undefined || shortageOf(error) === undefined) {
      this.#backend.health.lastCheckAt = Date.now();
      this.#onCheck?.(this.#backend, error);
      this.#judge(error);
    }
    // A listener may have closed it.
    if (!this.#closed) this.#wait(this.#isStale ? 0 : this.#pauseMs());
  }

  #problemWith(answer: ProbeAnswer | Error): Error | undefined {
    if (!('status' in answer)) return answer;
    const { status, content } = answer;
    const { isHealthy } = this.#rules;
    if (isHealthy === undefined) {
      return status >= 200 && status < 300 ? undefined : new Error(`the health check got status ${status}`);
    }
    try {
      if (notPromise(isHealthy(status, content), 'isHealthy') === true) return undefined;
      return new Error(`isHealthy did not accept the response with status ${status}`);
    } catch (cause) {
      return new Error(`isHealthy threw for a response with status ${status}: ${thrown(cause)}`, { cause });
    }
  }

  #holdTrials(error: Error | undefined): void {
    const { circuit, health, isAway } = this.#backend;
    if (circuit.state !== 'open' || this.#isStale) return;
    if (isAway && error === undefined) {
      circuit.reset();
      return;
    }
    const now = Date.now();
    // A wall clock that is set back must not make the delay longer.
    this.#openSince = Math.min(this.#openSince, now);
    // For a limited time, because checks of a wrong path must not keep a backend out for ever.
    health.holdsTrials = error !== undefined && now - this.#openSince < this.#rules.maxHoldMs;
  }

  #judge(error: Error | undefined): void {
    const { health } = this.#backend;
    const from = health.verdict;
    this.#passes = error === undefined ? this.#passes + 1 : 0;
    this.#failures = error === undefined ? 0 : this.#failures + 1;
    const { unhealthyAfter, healthyAfter } = this.#rules;
    if (this.#failures >= unhealthyAfter) health.verdict = 'unhealthy';
    else if (this.#passes >= (from === 'unknown' || this.#wasAway ? 1 : healthyAfter)) health.verdict = 'healthy';
    this.#wasAway = (error as NodeJS.ErrnoException | undefined)?.code === 'ECONNREFUSED';
    if (health.verdict !== from) this.#onVerdict(this.#backend, from, health.verdict, error);
  }

  #pauseMs(): number {
    const { intervalMs, unhealthyIntervalMs, jitter } = this.#rules;
    const { circuit, health } = this.#backend;
    const isSuspect = health.verdict === 'unhealthy' || circuit.state === 'open';
    return jittered(isSuspect ? unhealthyIntervalMs : intervalMs, jitter);
  }
}
