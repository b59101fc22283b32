import type { StatusSnapshot, TrafficHistory } from './status-snapshot.ts';

/** Called with complete values, so a watcher that misses one needs only the next. It must not throw. */
export interface StatusWatcher {
  snapshot(snapshot: StatusSnapshot): void;
  history(history: TrafficHistory): void;
}

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
    watcher.history(this.#history());
    watcher.snapshot(this.#snapshot());
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
    for (const watcher of this.#all) watcher.history(history);
  }

  close(): void {
    clearInterval(this.#timer);
    clearTimeout(this.#soon);
    this.#timer = undefined;
    this.#soon = undefined;
  }

  #send(): void {
    const snapshot = this.#snapshot();
    for (const watcher of this.#all) watcher.snapshot(snapshot);
  }
}
