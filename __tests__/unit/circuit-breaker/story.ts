import { jest } from '@jest/globals';
import {
  Circuit,
  circuitDefaults,
  type Permit,
  type ResolvedCircuitOptions,
} from '../../../lib/circuit-breaker/circuit.ts';
import type { Verdict } from '../../../lib/core/outcome.ts';
import { microtasks } from './microtasks.ts';

const VERDICTS: Readonly<Record<string, Verdict>> = { s: 'success', f: 'failure', x: 'neutral' };

/** A circuit with verbs to tell its life with. */
export class Story {
  readonly circuit: Circuit;
  readonly changes: string[] = [];

  constructor(options: Partial<ResolvedCircuitOptions> = {}) {
    this.circuit = new Circuit('story', { ...circuitDefaults, ...options });
    this.circuit.onStateChange((from, to, retryAfterMs) => {
      this.changes.push(to === 'open' ? `${from} > open for ${retryAfterMs}` : `${from} > ${to}`);
    });
  }

  /** Calls one after another: `s` succeeds, `f` fails, `x` is a client that leaves. All must be admitted. */
  async calls(verdicts: string): Promise<void> {
    for (const letter of verdicts) await this.end(this.begin(), letter);
  }

  succeed = (): Promise<void> => this.calls('s');
  fail = (): Promise<void> => this.calls('f');
  abort = (): Promise<void> => this.calls('x');

  begin(): Permit {
    const permit = this.circuit.tryAcquire();
    if (permit === undefined) throw new Error(`rejected: the circuit is ${this.circuit.state}`);
    return permit;
  }

  async end(permit: Permit, letter: string): Promise<void> {
    permit.settle(VERDICTS[letter] as Verdict);
    await microtasks();
  }

  isRejected(): boolean {
    return this.circuit.tryAcquire() === undefined;
  }

  later(ms: number): void {
    jest.advanceTimersByTime(ms);
  }

  async opened(): Promise<this> {
    await this.calls('fffff');
    return this;
  }

  /** Open, and the time for trials has come. */
  async due(): Promise<this> {
    await this.opened();
    this.later(10_000);
    return this;
  }
}
