import type { Backend } from '../backend.ts';
import type { MembershipChange } from '../backend-pool.ts';
import {
  type CheckListener,
  HealthCheck,
  type HealthCheckRules,
  type Probe,
  type VerdictListener,
} from './health-check.ts';

/** Milliseconds between the first checks of backends that are added together, to avoid a thousand connections in one tick. */
const SPREAD_MS = 1;

/** The health checks of a pool's backends, each with its own schedule. */
export class HealthChecker {
  readonly #rules: HealthCheckRules;
  readonly #probe: Probe;
  readonly #onVerdict: VerdictListener;
  readonly #onCheck: CheckListener | undefined;
  readonly #checks = new Map<Backend, HealthCheck>();

  constructor(rules: HealthCheckRules, probe: Probe, onVerdict: VerdictListener, onCheck?: CheckListener) {
    this.#rules = rules;
    this.#probe = probe;
    this.#onVerdict = onVerdict;
    this.#onCheck = onCheck;
  }

  /** Backends that stay keep their verdict and their schedule. */
  membershipChanged({ added, removed }: MembershipChange): void {
    for (const backend of removed) {
      this.#checks.get(backend)?.close();
      this.#checks.delete(backend);
    }
    for (const [index, backend] of added.entries()) {
      const check = new HealthCheck(backend, this.#rules, this.#probe, this.#onVerdict, this.#onCheck);
      this.#checks.set(backend, check);
      check.start(index * SPREAD_MS);
    }
  }

  /** Aborts the running checks. */
  close(): void {
    for (const check of this.#checks.values()) check.close();
    this.#checks.clear();
  }
}
