import { type Logger as PinoLogger, pino } from 'pino';
import type { LogLevel } from '../config/sections/operation-variables.ts';

/** pino, and where its lines go: for lines that are JSON already. */
export type Logger = PinoLogger & { readonly lines: { write(line: string): void } };

const toStdout = (line: string): void => {
  process.stdout.write(line);
};

/** Logs JSON, one object a line. */
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

/** Its message and stack only: what libraries hang on their errors may hold addresses and credentials. */
function shown(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  return { type: error.name, message: error.message, stack: error.stack };
}
