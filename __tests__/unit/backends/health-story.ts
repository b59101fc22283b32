import { jest } from '@jest/globals';
import { Backend, type SelectionNeeds } from '../../../lib/backends/backend.ts';
import {
  HealthCheck,
  type HealthCheckRules,
  type Probe,
  type ProbeAnswer,
} from '../../../lib/backends/health/health-check.ts';
import { healthCheckDefaults } from '../../../lib/backends/health/health-check-options.ts';
import { Circuit, circuitDefaults } from '../../../lib/circuit-breaker/circuit.ts';
import type { Verdict } from '../../../lib/core/outcome.ts';
import { microtasks } from '../circuit-breaker/microtasks.ts';

/** Backends with a circuit that one failure opens for 10 s, and one trial closes. */
export function makeBackends(count: number, weights: readonly number[] = [], needs?: SelectionNeeds): Backend[] {
  return Array.from({ length: count }, (_, index) => {
    const url = new URL(`http://backend-${index + 1}.test`);
    const options = { ...circuitDefaults, minimumRequests: 1, halfOpenRequests: 1 };
    return new Backend({ url, weight: weights[index] ?? 1 }, new Circuit(url.origin, options), needs);
  });
}

/** The health checks of one backend, told check by check: `p` passes, `f` fails, `r` is refused, `h` hangs. */
export class HealthStory {
  readonly backend = makeBackends(1)[0] as Backend;
  readonly check: HealthCheck;
  /** When each check began, in milliseconds. */
  readonly checks: number[] = [];
  readonly changes: string[] = [];
  inFlight = 0;
  mostInFlight = 0;
  readonly #script: string;
  readonly #startedAt = Date.now();

  /** @param script The last letter goes on for ever. */
  constructor(script: string, rules: Partial<HealthCheckRules> = {}) {
    this.#script = script;
    const all = { ...healthCheckDefaults, jitter: 0, path: '/healthz', maxHoldMs: 300_000, ...rules };
    this.check = new HealthCheck(this.backend, all, this.#probe, (_backend, from, to, error) => {
      this.changes.push(`${this.now} ${from} > ${to}${error === undefined ? '' : `: ${error.message}`}`);
    });
    this.check.start(0);
  }

  get now(): number {
    return Date.now() - this.#startedAt;
  }

  async later(ms: number): Promise<void> {
    await jest.advanceTimersByTimeAsync(ms);
  }

  /** Until so many checks have begun. */
  async begun(count: number): Promise<void> {
    while (this.checks.length < count) await jest.advanceTimersToNextTimerAsync();
    await microtasks();
  }

  /** One request that fails or succeeds; it must be admitted. */
  async request(verdict: Verdict): Promise<void> {
    const place = this.backend.isAvailable() ? this.backend.acquire() : undefined;
    if (place === undefined) throw new Error(`not available, circuit ${this.backend.circuit.state}`);
    place.release(verdict);
    await microtasks();
  }

  readonly #probe: Probe = async (_backend, { signal }) => {
    const letter = this.#script.at(Math.min(this.checks.length, this.#script.length - 1));
    this.checks.push(this.now);
    this.inFlight += 1;
    this.mostInFlight = Math.max(this.mostInFlight, this.inFlight);
    const answer: ProbeAnswer | Error =
      letter === 'h'
        ? await new Promise((resolve) => signal.addEventListener('abort', () => resolve(new Error('broken off'))))
        : letter === 'r'
          ? Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
          : { status: letter === 'p' ? 204 : 500, content: '' };
    this.inFlight -= 1;
    return answer;
  };
}
