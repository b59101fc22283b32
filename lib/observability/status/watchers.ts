import { warnOfRejection, warnOfThrow } from '../../core/warnings.ts';
import type { StatusSnapshot, TrafficHistory } from './status-snapshot.ts';

/** Called with complete values, so a watcher that misses one needs only the next. If it throws, a process warning says so. */
export interface StatusWatcher {
  snapshot(snapshot: StatusSnapshot): void;
  history(history: TrafficHistory): void;
}

const THREW = 'A watcher of statusFeed() threw';

/** Milliseconds from a change of state to the next snapshot, so that many changes share one. */
const SOON_MS = 100;

/** The watchers. All of them get the same snapshot; without watchers there is none. */
export class Watchers {
  readonly #intervalMs: number;
  readonly #snapshot: () => StatusSnapshot;
  readonly #history: () => TrafficHistory;
  readonly #all = new Set<StatusWatcher>();
  #timer: NodeJS.Timeout | undefined;
  #soon: NodeJS.Timeout | undefined;

  constructor(intervalMs: number, snapshot: () => StatusSnapshot, history: () => TrafficHistory) {
    this.#intervalMs = intervalMs;
    this.#snapshot = snapshot;
    this.#history = history;
  }

  /** The first values come at once. */
  add(watcher: StatusWatcher): () => void {
    this.#all.add(watcher);
    this.#timer ??= setInterval(() => this.#send(), this.#intervalMs).unref();
    const history = this.#history();
    const snapshot = this.#snapshot();
    give(watcher, () => watcher.history(history));
    give(watcher, () => watcher.snapshot(snapshot));
    return () => {
      this.#all.delete(watcher);
      if (this.#all.size === 0) this.close();
    };
  }

  /** Call it after a change that watchers should see soon. */
  soon(): void {
    if (this.#all.size === 0) return;
    this.#soon ??= setTimeout(() => {
      this.#soon = undefined;
      this.#send();
    }, SOON_MS).unref();
  }

  slotEnded(): void {
    if (this.#all.size === 0) return;
    const history = this.#history();
    this.#each((watcher) => watcher.history(history));
  }

  close(): void {
    clearInterval(this.#timer);
    clearTimeout(this.#soon);
    this.#timer = undefined;
    this.#soon = undefined;
  }

  #send(): void {
    const snapshot = this.#snapshot();
    this.#each((watcher) => watcher.snapshot(snapshot));
  }

  #each(call: (watcher: StatusWatcher) => unknown): void {
    for (const watcher of this.#all) give(watcher, call);
  }
}

/** An error in a timer would end the process. */
function give(watcher: StatusWatcher, call: (watcher: StatusWatcher) => unknown): void {
  try {
    warnOfRejection(call(watcher), watcher, 'WARN_EXPRESSWAY_LISTENER', THREW);
  } catch (error) {
    warnOfThrow(watcher, 'WARN_EXPRESSWAY_LISTENER', THREW, error);
  }
}
