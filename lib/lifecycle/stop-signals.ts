import { constants } from 'node:os';
import { inspect } from 'node:util';
import { type Check, type Checks, resolveOptions } from '../core/options.ts';

/** npm passes Ctrl-C on to a process that the terminal has already told: that is one wish, not two. */
const SAME_WISH_MS = 500;

/** Those that no process can listen to. */
const DEAF = ['SIGKILL', 'SIGSTOP'];

/** Options of {@link stopOnSignals}. */
export interface StopSignalsOptions {
  /** The signals that stop the process. Default SIGTERM and SIGINT. */
  signals?: readonly NodeJS.Signals[];
}

/** Defaults of {@link StopSignalsOptions}. */
export const stopSignalsDefaults = Object.freeze({
  signals: Object.freeze(['SIGTERM', 'SIGINT']) as readonly NodeJS.Signals[],
});

const isSignal = (value: unknown): boolean =>
  typeof value === 'string' && Object.hasOwn(constants.signals, value) && !DEAF.includes(value);

export const signalsCheck: Check = (value) =>
  Array.isArray(value) && value.every(isSignal) && new Set(value).size === value.length
    ? undefined
    : 'must be a list of signals that a process can hear, like SIGTERM, none twice';

const checks: Checks<StopSignalsOptions> = { signals: signalsCheck };

/** What listens to signals, until it is closed. */
export interface StopSignals {
  /** Listens no more: signals do what they do by default. */
  close(): void;
}

/**
 * Ends the process in order: at the first signal `stop` is called, and when it is done the process exits with 0, or with
 * 1 and the error on standard error when it fails. A second signal exits at once, with 128 and its number (143 for
 * SIGTERM, 130 for SIGINT), as a shell says of a process that a signal has ended; the same one again within half a second is
 * taken for the first (npm doubles Ctrl-C).
 *
 * For programs with more to stop than one server; `gracefulShutdown()` does it by itself for that.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function stopOnSignals(stop: (signal: NodeJS.Signals) => unknown, given?: StopSignalsOptions): StopSignals {
  const { signals } = resolveOptions('stopOnSignals', given, stopSignalsDefaults, checks);
  let first: { readonly signal: NodeJS.Signals; readonly at: number } | undefined;

  const onSignal = (signal: NodeJS.Signals): void => {
    if (first === undefined) {
      first = { signal, at: Date.now() };
      void stopAndExit(stop, signal);
    } else if (signal !== first.signal || Date.now() - first.at > SAME_WISH_MS) {
      process.exit(128 + constants.signals[signal]);
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
