/** The store said nothing in time. */
export class DeadlineError extends Error {
  constructor(ms: number) {
    super(`no reply from the store within ${ms} ms`);
    this.name = 'DeadlineError';
  }
}

/** One turn of the event loop. What is asked in it leaves this process at its end: so clients of Redis write, and messages to other processes are sent. */
export interface Turn {
  /** Not before it has ended. */
  endedAt?: number;
}

/** The turns of the event loop in which something is asked. */
export class Turns {
  #turn: Turn | undefined;

  /** The one that is under way. */
  get current(): Turn {
    if (this.#turn === undefined) {
      const turn: Turn = {};
      this.#turn = turn;
      setImmediate(() => {
        turn.endedAt = Date.now();
        this.#turn = undefined;
      });
    }
    return this.#turn;
  }
}

/** A timer that is so late says that this process had no time, not that the store had none. */
const STOOD_STILL_MS = 10;
const MOST_EXTENSIONS = 3;

/**
 * The result of `work`, or a `DeadlineError` after `ms` milliseconds. Neither Redis client nor
 * express-rate-limit limits how long a store may take.
 *
 * Time for which this process itself stands still is not the store's: its `ms` begin at the end of the `asked` turn, when the
 * question is sent, and begin anew after a timer that was late. A reply that is in the socket at the deadline is read.
 *
 * `work` goes on behind a missed deadline: `onLate` is called when it succeeds after all. A failure that comes
 * after the deadline says nothing new and is dropped.
 */
export function withDeadline<T>(work: Promise<T>, ms: number, asked: Turn, onLate: () => void): Promise<T> {
  return new Promise((resolve, reject) => {
    let missed = false;
    let extensions = 0;
    let dueAt = Date.now() + ms;
    const miss = (): void => {
      missed = true;
      reject(new DeadlineError(ms));
    };
    let turn: NodeJS.Immediate | undefined;
    const due = (): void => {
      const now = Date.now();
      const hadMs = Math.max(0, now - (asked.endedAt ?? now));
      const moreMs = now - dueAt >= STOOD_STILL_MS ? ms : ms - hadMs;
      if (moreMs > 0 && extensions < MOST_EXTENSIONS) {
        extensions++;
        dueAt = now + moreMs;
        timer = setTimeout(due, moreMs).unref();
      } else {
        // Sockets are read before.
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
