import { constants } from 'node:os';
import { inspect } from 'node:util';
import { type Check, type Checks, OptionsError, optionalDurationMs, resolveOptions } from '../core/options.ts';
import { shownValue } from '../core/shown-value.ts';

/** Milliseconds. npm passes Ctrl-C on to a process that got it from the terminal already: both signals count as one. */
const SAME_WISH_MS = 500;

/** Signals that a process cannot listen to. */
const DEAF = ['SIGKILL', 'SIGSTOP'];

/** Options of {@link stopOnSignals}. */
export interface StopSignalsOptions {
  /** The signals that stop the process. Default SIGTERM and SIGINT. */
  signals?: readonly NodeJS.Signals[];
  /**
   * Milliseconds from the first signal until the process is killed, if `stop` has not finished by then. Default 0, which
   * sets no limit.
   */
  timeoutMs?: number;
}

/** Defaults of {@link StopSignalsOptions}. */
export const stopSignalsDefaults = Object.freeze({
  signals: Object.freeze(['SIGTERM', 'SIGINT']) as readonly NodeJS.Signals[],
  timeoutMs: 0,
});

const isSignal = (value: unknown): boolean =>
  typeof value === 'string' && Object.hasOwn(constants.signals, value) && !DEAF.includes(value);

export const signalsCheck: Check = (value) =>
  Array.isArray(value) && value.every(isSignal) && new Set(value).size === value.length
    ? undefined
    : 'must be a list of different signals that a process can handle, like SIGTERM';

const checks: Checks<StopSignalsOptions> = { signals: signalsCheck, timeoutMs: optionalDurationMs };

/** A listener for signals. */
export interface StopSignals {
  /** Stops listening. Signals have their default effect again. */
  close(): void;
}

/**
 * Stops the process on a signal. The first signal calls `stop`; when that is done the process exits with 0, or with 1 and
 * the error on standard error if it fails. A second signal ends the process at once, as if it had no listener. The same
 * signal again within half a second counts as the first one, because npm doubles Ctrl-C.
 *
 * Use it in programs that stop more than one server. For one server, `gracefulShutdown()` does the same.
 *
 * @throws {OptionsError} that names each unknown key and each bad value, and when `stop` is not a function.
 */
export function stopOnSignals(stop: (signal: NodeJS.Signals) => unknown, given?: StopSignalsOptions): StopSignals {
  // The signal would find out, and end the process without stopping anything.
  if (typeof stop !== 'function')
    throw new OptionsError('stopOnSignals', [`stop must be a function, got ${shownValue(stop)}`]);
  const { signals, timeoutMs } = resolveOptions('stopOnSignals', given, stopSignalsDefaults, checks);
  let first: { readonly signal: NodeJS.Signals; readonly at: number } | undefined;

  const onSignal = (signal: NodeJS.Signals): void => {
    if (first === undefined) {
      first = { signal, at: performance.now() };
      void stopAndExit(stop, signal);
      if (timeoutMs > 0) setTimeout(() => endLate(timeoutMs), timeoutMs).unref();
    } else if (signal !== first.signal || performance.now() - first.at > SAME_WISH_MS) {
      endNow(signal, 128 + constants.signals[signal]);
    }
  };
  for (const signal of signals) process.on(signal, onSignal);
  return {
    close(): void {
      for (const signal of signals) process.off(signal, onSignal);
    },
  };
}

async function stopAndExit(stop: (signal: NodeJS.Signals) => unknown, signal: NodeJS.Signals): Promise<void> {
  try {
    await stop(signal);
  } catch (error) {
    process.stderr.write(`${inspect(error)}\n`);
    process.exit(1);
  }
  process.exit(0);
}

function endLate(timeoutMs: number): void {
  process.stderr.write(`The process did not stop within ${timeoutMs} ms: it is killed\n`);
  endNow('SIGKILL', 137);
}

/**
 * Ends the process even if `process.exit()` would not. That waits for the threads that read files and look up host names, and a thread that
 * reads a dead network drive never ends. Listeners of `exit` are called as usual.
 *
 * @param code Exit code for a process that its own signal cannot end: the first one in a container.
 */
function endNow(signal: NodeJS.Signals, code: number): void {
  process.emit('exit', code);
  if (signal !== 'SIGKILL') process.removeAllListeners(signal);
  process.kill(process.pid, signal);
  process.exit(code);
}
