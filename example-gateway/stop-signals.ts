import { inspect } from 'node:util';

/** npm passes Ctrl-C on to a process that the terminal has already told: that is one wish, not two. */
const SAME_WISH_MS = 500;

/**
 * The first SIGTERM or SIGINT stops cleanly and ends the process with 0, or with 1 when `stop` rejects; the
 * second one does not wait.
 */
export function stopOnSignals(stop: (signal: NodeJS.Signals) => Promise<void>): void {
  let firstAt: number | undefined;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (firstAt !== undefined) {
      if (Date.now() - firstAt > SAME_WISH_MS) process.exit(1);
      return;
    }
    firstAt = Date.now();
    stop(signal).then(
      () => process.exit(0),
      (error: unknown) => {
        process.stderr.write(`${inspect(error)}\n`);
        process.exit(1);
      },
    );
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
}
