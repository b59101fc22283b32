/** The store said nothing in time. */
export class DeadlineError extends Error {
  constructor(ms: number) {
    super(`no reply from the store within ${ms} ms`);
    this.name = 'DeadlineError';
  }
}

/**
 * The result of `work`, or a `DeadlineError` after `ms` milliseconds. Neither Redis client nor
 * express-rate-limit limits how long a store may take.
 *
 * `work` goes on behind a missed deadline: `onLate` is told when it succeeds after all. A failure that comes
 * after the deadline says nothing new and is dropped.
 */
export function withDeadline<T>(work: Promise<T>, ms: number, onLate: () => void): Promise<T> {
  return new Promise((resolve, reject) => {
    let missed = false;
    const miss = (): void => {
      missed = true;
      reject(new DeadlineError(ms));
    };
    // When this process itself stood still, the reply may wait in the socket: let that be read first.
    let turn: NodeJS.Immediate | undefined;
    const timer = setTimeout(() => {
      turn = setImmediate(miss);
    }, ms);
    timer.unref();
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
