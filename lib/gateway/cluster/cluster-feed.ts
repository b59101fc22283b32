import {
  type Change,
  type GatewayProblem,
  mergeHistories,
  mergeProblems,
  mergeSnapshots,
  type StatusSnapshot,
  type TrafficHistory,
} from '../../index.ts';
import type { PageFeed } from '../admin/page-connections.ts';
import type { WorkerProcess } from './worker-process.ts';

type StatusWatcher = Parameters<PageFeed['watch']>[0];

const TIMEOUT_MS = 1_000;
/** Milliseconds between two snapshots at least. Workers report at different times, and several reports share one snapshot. */
const TOGETHER_MS = 50;
const LEAST_APART_MS = 250;
const CHANGES = 20;
/** The snapshot while no worker reports. */
const NO_SNAPSHOT: StatusSnapshot = Object.freeze({
  at: 0,
  problems: [],
  processes: [],
  load: { inFlight: 0, waiting: 0, retriesLeft: 0 },
  rates: { requests: 0, backendErrors: 0, gatewayErrors: 0, limited: 0 },
  backends: [],
  routes: [],
  routeCount: 0,
  limiters: [],
  breakers: [],
  clients: [],
  changes: [],
});
/** Milliseconds within which equal changes of several workers count as one. */
const SAME_CHANGE_MS = 5_000;

/** The merged state of all workers. They report only while a page is open. */
export class ClusterFeed implements PageFeed {
  readonly #workers: () => readonly WorkerProcess[];
  readonly #problems: () => readonly GatewayProblem[];
  readonly #watchers = new Set<StatusWatcher>();
  readonly #snapshots = new Map<WorkerProcess, StatusSnapshot>();
  readonly #histories = new Map<WorkerProcess, TrafficHistory>();
  #past: readonly TrafficHistory[] = [];
  #changes: readonly Change[] = [];
  #timer: NodeJS.Timeout | undefined;
  #shownAt = 0;

  /**
   * @param workers Gives the workers that serve.
   * @param problems Gives the problems of the primary.
   */
  constructor(workers: () => readonly WorkerProcess[], problems: () => readonly GatewayProblem[]) {
    this.#workers = workers;
    this.#problems = problems;
  }

  /** Listens to a new process. */
  add(worker: WorkerProcess): void {
    worker.peer.on<StatusSnapshot>('snapshot', (snapshot) => {
      if (worker.state === 'ended') return;
      this.#snapshots.set(worker, snapshot);
      this.#showSoon();
    });
    worker.peer.on<TrafficHistory>('history', (history) => {
      if (worker.state === 'ended') return;
      this.#histories.set(worker, history);
      this.#showHistory();
    });
  }

  /** Call it when a new worker serves. */
  ready(worker: WorkerProcess): void {
    if (this.#watchers.size > 0) worker.peer.send('watch', true);
  }

  ended(worker: WorkerProcess): void {
    const last = worker.finalReport?.history ?? this.#histories.get(worker);
    if (last !== undefined) this.#past = [mergeHistories([...this.#past, last])];
    this.#snapshots.delete(worker);
    this.#histories.delete(worker);
    if (this.#watchers.size > 0) this.#showSoon();
  }

  async snapshot(): Promise<StatusSnapshot> {
    return this.#merged(await this.#ask<StatusSnapshot>('snapshot'));
  }

  async history(): Promise<TrafficHistory> {
    return mergeHistories([...this.#past, ...(await this.#ask<TrafficHistory>('history')).map(([, one]) => one)]);
  }

  watch(watcher: StatusWatcher): () => void {
    this.#watchers.add(watcher);
    this.#sendWatch();
    // The problems of the primary, in case no worker reports.
    this.#showSoon();
    return () => {
      this.#watchers.delete(watcher);
      if (this.#watchers.size > 0) return;
      this.#sendWatch();
      clearTimeout(this.#timer);
      this.#timer = undefined;
      this.#snapshots.clear();
    };
  }

  /** Call it when the problems of the primary change. */
  changed(): void {
    if (this.#watchers.size > 0) this.#showSoon();
  }

  noteOperator(subject: string, text: string): void {
    this.note({ kind: 'operator', subject, text, isBad: false });
  }

  note(change: Omit<Change, 'at'>): void {
    this.#changes = [{ at: Date.now(), ...change }, ...this.#changes].slice(0, CHANGES);
    if (this.#watchers.size > 0) this.#showSoon();
  }

  #sendWatch(): void {
    for (const { peer } of this.#workers()) peer.send('watch', this.#watchers.size > 0);
  }

  /** The snapshots of the workers that reply. */
  async #ask<T>(what: string): Promise<[WorkerProcess, T][]> {
    const workers = this.#workers();
    const all = await Promise.allSettled(workers.map(({ peer }) => peer.ask<T>(what, undefined, TIMEOUT_MS)));
    return all.flatMap((one, index) => {
      return one.status === 'fulfilled' ? [[workers[index] as WorkerProcess, one.value]] : [];
    });
  }

  #showSoon(): void {
    const wait = Math.max(TOGETHER_MS, this.#shownAt + LEAST_APART_MS - Date.now());
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#shownAt = Date.now();
      const snapshot = this.#merged([...this.#snapshots]);
      for (const watcher of this.#watchers) watcher.snapshot(snapshot);
    }, wait).unref();
  }

  #showHistory(): void {
    const history = mergeHistories([...this.#past, ...this.#histories.values()]);
    for (const watcher of this.#watchers) watcher.history(history);
  }

  #merged(all: readonly (readonly [WorkerProcess, StatusSnapshot])[]): StatusSnapshot {
    const snapshots = [...all].sort(([a], [b]) => a.place - b.place).map(([{ place }, one]) => numbered(one, place));
    const merged = snapshots.length === 0 ? NO_SNAPSHOT : mergeSnapshots(snapshots);
    const own = this.#problems();
    // The log of all processes is one: the primary has the same problem with it.
    const others = merged.problems.filter(
      ({ problem, subject }) => !own.some((one) => one.problem === problem && one.subject === subject),
    );
    const problems = mergeProblems([[...own, ...others]]);
    return {
      ...merged,
      at: Math.max(merged.at, Date.now()),
      problems,
      changes: distinct([...this.#changes, ...merged.changes]),
    };
  }
}

/** Adds the number of the worker to its snapshot. */
const numbered = (snapshot: StatusSnapshot, worker: number): StatusSnapshot => ({
  ...snapshot,
  processes: snapshot.processes.map((process) => ({ ...process, worker })),
});

/** The changes of all workers, the latest first. A change that several workers report at about the same time is listed once. */
function distinct(changes: readonly Change[]): Change[] {
  const kept: Change[] = [];
  for (const change of [...changes].sort((a, b) => b.at - a.at)) {
    const isKnown = kept.some(
      (one) =>
        one.kind === change.kind &&
        one.subject === change.subject &&
        one.text === change.text &&
        one.at - change.at < SAME_CHANGE_MS,
    );
    if (!isKnown) kept.push(change);
  }
  return kept.slice(0, CHANGES);
}
