/** From nothing to everything. */
export const LOG_LEVELS = ['silent', 'error', 'warn', 'info', 'debug'] as const;

export type LogLevel = (typeof LOG_LEVELS)[number];

/** Writes one line. The shape is pino's, so that pino can take its place in this one file. */
export type Log = (fields: Readonly<Record<string, unknown>>, message: string) => void;

export type Logger = Readonly<Record<Exclude<LogLevel, 'silent'>, Log>>;

const toStdout = (line: string): void => {
  process.stdout.write(line);
};

/** Logs JSON, one object a line. */
export function createLogger(level: LogLevel, write: (line: string) => void = toStdout): Logger {
  const at = (name: Exclude<LogLevel, 'silent'>): Log =>
    LOG_LEVELS.indexOf(name) > LOG_LEVELS.indexOf(level)
      ? () => {}
      : (fields, message) =>
          write(`${JSON.stringify({ level: name, time: new Date(), msg: message, ...plain(fields) })}\n`);
  return { error: at('error'), warn: at('warn'), info: at('info'), debug: at('debug') };
}

/** JSON shows nothing of an `Error`. */
function plain(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const shown: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields)) {
    shown[name] = value instanceof Error ? { type: value.name, message: value.message, stack: value.stack } : value;
  }
  return shown;
}
