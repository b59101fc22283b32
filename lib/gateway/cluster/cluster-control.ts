import type { GatewayControl } from '../admin/operator-api.ts';
import type { OperatorAct, OperatorAnswer, OperatorStateEntry } from './messages.ts';
import type { WorkerProcess } from './worker-process.ts';

const TIMEOUT_MS = 2_000;

/** What an operator does is done in all workers or in none. */
export class ClusterControl implements GatewayControl {
  readonly #workers: () => readonly WorkerProcess[];
  readonly #operatorStates = new Map<string, OperatorStateEntry['held']>();

  /** @param workers Those that serve. */
  constructor(workers: () => readonly WorkerProcess[]) {
    this.#workers = workers;
  }

  drain(backend: string): Promise<boolean> {
    return this.#hold(backend, 'drain');
  }

  isolate(backend: string): Promise<boolean> {
    return this.#hold(backend, 'isolate');
  }

  restore(backend: string): Promise<boolean> {
    return this.#hold(backend, 'restore');
  }

  async resetLimit(client: string): Promise<void> {
    await Promise.all(this.#workers().map(({ peer }) => peer.ask('resetLimit', client, TIMEOUT_MS)));
  }

  /** A new worker serves: what an operator has done since it began has missed it. */
  ready(worker: WorkerProcess): void {
    worker.peer.tell('setOperatorStates', this.#known());
  }

  /** For a new worker. Those that serve know best: a backend that has left their list is not held any more. */
  async operatorStates(): Promise<readonly OperatorStateEntry[]> {
    const [worker] = this.#workers();
    if (worker === undefined) return this.#known();
    try {
      const operatorStates = await worker.peer.ask<readonly OperatorStateEntry[]>(
        'operatorStates',
        undefined,
        TIMEOUT_MS,
      );
      this.#operatorStates.clear();
      for (const { backend, held } of operatorStates) this.#operatorStates.set(backend, held);
      return operatorStates;
    } catch {
      // It hangs or has just ended: what it was told before is nearly as good.
      return this.#known();
    }
  }

  async #hold(backend: string, act: OperatorAct): Promise<boolean> {
    const workers = this.#workers();
    const before = this.#operatorStates.get(backend);
    const asked = workers.map(({ peer }) => peer.ask<OperatorAnswer>('operatorAct', { backend, act }, TIMEOUT_MS));
    const answers = await Promise.allSettled(asked);
    const silent = answers.filter(({ status }) => status === 'rejected').length;
    if (silent > 0) {
      // In order, so that one that hears both late ends as the others do.
      for (const { peer } of workers) {
        peer.tell('operatorAct', { backend, act: 'restore' });
        if (before !== undefined)
          peer.tell('operatorAct', { backend, act: before === 'drained' ? 'drain' : 'isolate' });
      }
      throw new Error(`${silent} of ${workers.length} workers did not answer: nothing was changed`);
    }
    const isFound = answers.some((answer) => answer.status === 'fulfilled' && answer.value.isFound);
    if (isFound && act === 'restore') this.#operatorStates.delete(backend);
    else if (isFound) this.#operatorStates.set(backend, act === 'drain' ? 'drained' : 'isolated');
    // Workers that became ready while the others were asked.
    for (const worker of this.#workers()) if (isFound && !workers.includes(worker)) this.ready(worker);
    return isFound;
  }

  #known(): readonly OperatorStateEntry[] {
    return [...this.#operatorStates].map(([backend, held]) => ({ backend, held }));
  }
}
