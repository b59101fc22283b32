import { type Logger, pino } from 'pino';

export type { Logger } from 'pino';

/** From nothing to everything. */
export const LOG_LEVELS = ['silent', 'error', 'warn', 'info', 'debug'] as const;

export type LogLevel = (typeof LOG_LEVELS)[number];

const toStdout = (line: string): void => {
  process.stdout.write(line);
};

/** Logs JSON, one object a line. */
export function createLogger(level: LogLevel, write: (line: string) => void = toStdout): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: shown },
    },
    { write },
  );
}

/** Its message and stack only: what libraries hang on their errors may hold addresses and credentials. */
function shown(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  return { type: error.name, message: error.message, stack: error.stack };
}
