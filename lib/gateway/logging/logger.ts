import { type Logger as PinoLogger, pino } from 'pino';
import type { LogLevel } from '../config/sections/operation-variables.ts';

/** Name of Node's own listener, which prints warnings as plain text. */
const NODES_OWN = 'onWarning';

type CodedWarning = Error & { readonly code?: string; readonly detail?: string };

/** A pino logger, with its destination for lines that are JSON already. */
export type Logger = PinoLogger & { readonly lines: { write(line: string): void } };

const toStdout = (line: string): void => {
  process.stdout.write(line);
};

/** Creates a logger of JSON lines. */
export function createLogger(
  level: LogLevel,
  write: (line: string) => void = toStdout,
  bindings: Record<string, unknown> = {},
): Logger {
  const logger = pino(
    {
      level,
      base: bindings,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: shown },
    },
    { write },
  );
  return Object.assign(logger, { lines: { write } });
}

/** Logs only message and stack. Other properties of errors may contain addresses and credentials. */
function shown(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  return { type: error.name, message: error.message, stack: error.stack };
}

/**
 * Logs process warnings as JSON lines. Node would print them as several lines of text on standard error. With `--no-warnings` Node prints
 * none, and none is logged.
 */
export function logProcessWarnings(log: Logger): void {
  const own = process.listeners('warning').filter(({ name }) => name === NODES_OWN);
  if (own.length === 0) return;
  for (const listener of own) process.off('warning', listener);
  process.on('warning', ({ name, message, code, detail }: CodedWarning) => {
    log.warn({ warning: name, code, detail }, message);
  });
}
