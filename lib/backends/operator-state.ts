import type { Circuit, Isolation } from '../circuit-breaker/circuit.ts';

/** How an operator keeps a backend out. */
export type OperatorState = 'drained' | 'isolated';

/** The operator state of one backend. It is separate from the weight, which a new list of backends may set. */
export class OperatorSwitch {
  readonly #circuit: Pick<Circuit, 'isolate'>;
  #isolation: Isolation | undefined;
  #state: OperatorState | undefined;

  constructor(circuit: Pick<Circuit, 'isolate'>) {
    this.#circuit = circuit;
  }

  get state(): OperatorState | undefined {
    return this.#state;
  }

  drain(): void {
    this.#state = 'drained';
    this.#release();
  }

  isolate(): void {
    this.#state = 'isolated';
    this.#isolation ??= this.#circuit.isolate();
  }

  /** @returns whether it was drained or isolated. */
  lift(): boolean {
    if (this.#state === undefined) return false;
    // The state changes first, because a listener of the circuit may pick the backend at once.
    this.#state = undefined;
    this.#release();
    return true;
  }

  #release(): void {
    this.#isolation?.dispose();
    this.#isolation = undefined;
  }
}
