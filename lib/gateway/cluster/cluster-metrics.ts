import { AggregatorRegistry, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { ProblemMonitor } from '../../index.ts';
import type { MetricJson, MetricValueJson } from './messages.ts';
import type { WorkerProcess, WorkerState } from './worker-process.ts';

/** Milliseconds that a scrape waits for a worker. After that, the worker's last values are used. */
const TIMEOUT_MS = 1_000;
const STATES: readonly WorkerState[] = ['starting', 'ready', 'stopping'];

/** Metrics whose labels name all present backends and circuits. */
const NAMES: Readonly<Record<string, string>> = {
  backend: 'expressway_backend_up',
  circuit: 'expressway_circuit_state',
};

/**
 * Merges the metrics of all processes. Counts of workers that have ended are kept: Prometheus would take a counter that falls for a
 * restart, and count everything again.
 */
export class ClusterMetrics {
  readonly #workers: () => readonly WorkerProcess[];
  readonly #own = new Registry();
  readonly #latest = new Map<WorkerProcess, readonly MetricJson[]>();
  readonly #crashes: Counts = { crashed: 0, replaced: 0 };
  #past: readonly MetricJson[] = [];

  /**
   * @param workers Gives all workers that have not ended.
   * @param own Problems of the primary.
   */
  constructor(workers: () => readonly WorkerProcess[], own?: Pick<ProblemMonitor, 'kinds' | 'problems'>) {
    this.#workers = workers;
    collectDefaultMetrics({ register: this.#own });
    const states = new Gauge({
      name: 'expressway_workers',
      help: 'Worker processes by state.',
      labelNames: ['state'],
      registers: [this.#own],
      collect: () => {
        for (const state of STATES) states.set({ state }, workers().filter((worker) => worker.state === state).length);
      },
    });
    if (own === undefined) return;
    const problems = new Gauge({
      name: 'expressway_problem',
      help: 'Whether there is a problem of this kind: docs/problems.md.',
      labelNames: ['problem'],
      aggregator: 'max',
      registers: [this.#own],
      collect: () => {
        for (const problem of own.kinds) {
          problems.set({ problem }, Number(own.problems.some((one) => one.problem === problem)));
        }
      },
    });
  }

  exited(isCrash: boolean): void {
    this.#crashes[isCrash ? 'crashed' : 'replaced'] += 1;
  }

  /** Call it when a worker has ended: its counts are kept. */
  ended(worker: WorkerProcess): void {
    const last = worker.finalReport?.metrics ?? this.#latest.get(worker);
    this.#latest.delete(worker);
    if (last !== undefined) this.#past = merged([this.#past, last.filter(isCount)]);
  }

  /** Makes the registry for one scrape. */
  async collect(): Promise<Registry> {
    const own = this.#own.getMetricsAsJSON();
    const asked = this.#workers()
      .filter(({ state }) => state === 'ready' || state === 'stopping')
      .map(async (worker) => {
        const metrics = await worker.peer.ask<readonly MetricJson[]>('metrics', undefined, TIMEOUT_MS);
        // It may have ended meanwhile; then its counts are among the kept ones.
        if (worker.state !== 'ended') this.#latest.set(worker, metrics);
      });
    await Promise.allSettled(asked);
    const latest = [...this.#latest.values()];
    this.#past = pruned(this.#past, latest);
    const all: (readonly MetricJson[])[] = [
      [...(await own), this.#ends()].map(adjusted),
      ...latest.map((one) => one.map(adjusted)),
      this.#past,
    ];
    return AggregatorRegistry.aggregate(all);
  }

  #ends(): MetricJson {
    return {
      name: 'expressway_worker_ends_total',
      help: 'Workers that have ended while the gateway ran: crashed, or replaced by a rolling reload.',
      type: 'counter',
      aggregator: 'sum',
      values: Object.entries(this.#crashes).map(([reason, value]) => ({ labels: { reason }, value })),
    };
  }
}

type Counts = Record<'crashed' | 'replaced', number>;

const isCount = ({ type }: MetricJson): boolean => type !== 'gauge';

/** Metrics that are not added: of the event loop's lag the largest counts, and of the start times the earliest. */
function adjusted(metric: MetricJson): MetricJson {
  if (metric.name.startsWith('nodejs_eventloop_lag')) return { ...metric, aggregator: 'max' };
  if (metric.name === 'process_start_time_seconds') return { ...metric, aggregator: 'min' };
  return metric;
}

function merged(all: readonly (readonly MetricJson[])[]): MetricJson[] {
  const registry = AggregatorRegistry.aggregate([...all]);
  return registry.getMetricsAsArray().map((metric) => {
    const { name, help, type, aggregator, values = [] }: MetricJson = metric;
    return { name, help, type, aggregator, values };
  });
}

/** Drops counts of backends that no worker has any more. */
function pruned(past: readonly MetricJson[], latest: readonly (readonly MetricJson[])[]): readonly MetricJson[] {
  if (past.length === 0 || latest.length === 0) return past;
  const known = new Map(
    Object.entries(NAMES).map(([label, name]) => [
      label,
      new Set(
        latest.flatMap((metrics) =>
          (metrics.find((metric) => metric.name === name)?.values ?? []).map(({ labels }) => labels[label]),
        ),
      ),
    ]),
  );
  const isKnown = ({ labels }: MetricValueJson): boolean =>
    [...known].every(([label, values]) => labels[label] === undefined || values.has(labels[label]));
  return past.map((metric) => ({ ...metric, values: (metric.values ?? []).filter(isKnown) }));
}
