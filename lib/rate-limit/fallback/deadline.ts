/** The store said nothing in time. */
export class DeadlineError extends Error {
  constructor(ms: number) {
    super(`no reply from the store within ${ms} ms`);
    this.name = 'DeadlineError';
  }
}

/** A timer that is so late says that this process had no time, not that the store had none. */
const STOOD_STILL_MS = 10;
const MOST_EXTENSIONS = 3;

/**
 * The result of `work`, or a `DeadlineError` after `ms` milliseconds. Neither Redis client nor
 * express-rate-limit limits how long a store may take.
 *
 * `work` goes on behind a missed deadline: `onLate` is called when it succeeds after all. A failure that comes
 * after the deadline says nothing new and is dropped.
 */
export function withDeadline<T>(work: Promise<T>, ms: number, onLate: () => void): Promise<T> {
  return new Promise((resolve, reject) => {
    let missed = false;
    let extensions = 0;
    let start = Date.now();
    const miss = (): void => {
      missed = true;
      reject(new DeadlineError(ms));
    };
    // When this process itself stood still, the reply may wait in the socket: let that be read first. And what was asked may
    // not even have been sent: the store gets its time anew.
    let turn: NodeJS.Immediate | undefined;
    const due = (): void => {
      const now = Date.now();
      if (now - start >= ms + STOOD_STILL_MS && extensions < MOST_EXTENSIONS) {
        extensions++;
        start = now;
        timer = setTimeout(due, ms).unref();
      } else {
        turn = setImmediate(miss);
      }
    };
    let timer = setTimeout(due, ms).unref();
    const stop = (): void => {
      clearTimeout(timer);
      clearImmediate(turn);
    };
    work.then(
      (value) => {
        if (missed) {
          onLate();
          return;
        }
        stop();
        resolve(value);
      },
      (error: unknown) => {
        stop();
        reject(error);
      },
    );
  });
}
