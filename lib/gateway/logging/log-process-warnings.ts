import type { Logger } from './logger.ts';

/** What Node calls its own listener, which prints warnings as plain text. */
const NODES_OWN = 'onWarning';

type CodedWarning = Error & { readonly code?: string; readonly detail?: string };

/**
 * Logs process warnings as lines like all others. Node would print them as text of several lines on standard error, between lines of
 * JSON. With `--no-warnings` Node prints none, and none is logged.
 */
export function logProcessWarnings(log: Logger): void {
  const own = process.listeners('warning').filter(({ name }) => name === NODES_OWN);
  if (own.length === 0) return;
  for (const listener of own) process.off('warning', listener);
  process.on('warning', ({ name, message, code, detail }: CodedWarning) => {
    log.warn({ warning: name, code, detail }, message);
  });
}
