import type { BackendOperation, GatewayControl } from '../admin/operator-api.ts';
import type { OperatorStateEntry } from './messages.ts';
import type { WorkerProcess } from './worker-process.ts';

const TIMEOUT_MS = 2_000;

/** Applies the actions of operators in all workers, or in none. */
export class ClusterControl implements GatewayControl {
  readonly #workers: () => readonly WorkerProcess[];
  /** The operator states, by service and backend. */
  readonly #states = new Map<string, OperatorStateEntry>();
  #last: Promise<unknown> = Promise.resolve();

  /** @param workers Gives the workers that serve. */
  constructor(workers: () => readonly WorkerProcess[]) {
    this.#workers = workers;
  }

  operate(operation: BackendOperation): Promise<readonly string[]> {
    return this.#queue(() => this.#operate(operation));
  }

  async #operate(operation: BackendOperation): Promise<readonly string[]> {
    const workers = this.#workers();
    const asked = workers.map(({ peer }) => peer.ask<readonly string[]>('operate', operation, TIMEOUT_MS));
    const answers = await Promise.allSettled(asked);
    const silent = answers.filter(({ status }) => status === 'rejected').length;
    if (silent > 0) {
      // Messages arrive in order, so a worker that gets both late ends in the same state as the others.
      for (const worker of workers) this.ready(worker);
      throw new Error(`${silent} of ${workers.length} workers did not respond: nothing was changed`);
    }
    const services = new Set(answers.flatMap((answer) => (answer.status === 'fulfilled' ? answer.value : [])));
    for (const service of services) this.#remember(operation, service);
    // Workers may have become ready meanwhile.
    for (const worker of this.#workers()) if (services.size > 0 && !workers.includes(worker)) this.ready(worker);
    return [...services];
  }

  async resetLimit(client: string): Promise<void> {
    await Promise.all(this.#workers().map(({ peer }) => peer.ask('resetLimit', client, TIMEOUT_MS)));
  }

  /** Sends the operator states to a worker that has just become ready. */
  ready(worker: WorkerProcess): void {
    worker.peer.send('setOperatorStates', this.#known());
  }

  /** Operator states for a new worker, from a worker that serves: backends that have left its list have none any more. */
  operatorStates(): Promise<readonly OperatorStateEntry[]> {
    return this.#queue(async () => {
      const asked = this.#workers().map(({ peer }) =>
        peer.ask<readonly OperatorStateEntry[]>('operatorStates', undefined, TIMEOUT_MS),
      );
      try {
        // The first reply is taken: another worker may hang, and clients wait for the new worker.
        const states = await Promise.any(asked);
        this.#states.clear();
        for (const state of states) this.#states.set(stateKey(state), state);
        return states;
      } catch {
        // All workers hang or have just ended, or there is none. The states in this process are nearly as good.
        return this.#known();
      }
    });
  }

  /** One after the other: during an operation, a worker would report a state that another one may still reject. */
  #queue<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => {});
    return done;
  }

  #remember({ operation, backend }: BackendOperation, service: string): void {
    const key = stateKey({ service, backend });
    if (operation === 'restore') this.#states.delete(key);
    else this.#states.set(key, { service, backend, held: operation === 'drain' ? 'drained' : 'isolated' });
  }

  #known(): readonly OperatorStateEntry[] {
    return [...this.#states.values()];
  }
}

/** Key of a backend of a service. */
export const stateKey = ({ service, backend }: { readonly service: string; readonly backend: string }): string =>
  JSON.stringify([service, backend]);
