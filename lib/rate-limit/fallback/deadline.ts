/** The store did not reply in time. */
export class DeadlineError extends Error {
  constructor(ms: number) {
    super(`no reply from the store within ${ms} ms`);
    this.name = 'DeadlineError';
  }
}

/** One turn of the event loop. Redis clients write their commands at the end of a turn, and messages to other processes leave then, too. */
export interface Turn {
  /** `Date.now()` at its end; `undefined` until then. */
  endedAt?: number;
}

/** The turns of the event loop in which the store is asked. */
export class Turns {
  #turn: Turn | undefined;

  /** The present turn. */
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

/** A timer that fires this late means that this process was busy, not that the store was slow. */
const STOOD_STILL_MS = 10;
const MOST_EXTENSIONS = 3;

/**
 * The result of `work`, or a `DeadlineError` after `ms` milliseconds. The Redis clients and express-rate-limit have no such
 * timeout.
 *
 * The store is not charged for time in which this process itself stands still. The `ms` begin at the end of the turn `asked`, when
 * the command is sent, and begin again after a timer that fired late. A reply that is in the socket at the deadline is still read.
 *
 * `work` goes on after a missed deadline, and `onLate` is called if it succeeds. A failure after the deadline adds nothing and is
 * dropped.
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
        // The event loop reads sockets before it runs this.
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
