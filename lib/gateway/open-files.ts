import type { Config } from './config/config.ts';
import { DEFAULT_MAX_CONNECTIONS } from './config/sections/request-variables.ts';
import { REDIRECT_CONNECTIONS } from './https-redirect.ts';
import type { Logger } from './logging/logger.ts';

/** Files of Node itself, listeners, log, DNS and Redis: 22 at rest, and sometimes a few more. */
const OWN_FILES = 32;
/** Most admin connections: more than operators, probes and scrapers need. */
export const ADMIN_CONNECTIONS = 256;
/** With few files, the admin listener gets this part of them, so that it always responds. */
const ADMIN_PART = 1 / 8;
const LEAST_ADMIN_CONNECTIONS = 8;

/** Shares of the open files of a process. */
export interface OpenFiles {
  /** Most client connections. A request needs one connection to its client and one to its backend. */
  readonly connections: number;
  /** Most connections to the admin listener. */
  readonly adminConnections: number;
}

/**
 * The limit of open files of this process (`ulimit -n`). Node raises the soft limit to the hard one when it starts.
 *
 * @returns `Infinity` for no limit, and where the system has none.
 */
export function openFileLimit(): number {
  // Otherwise a report does a DNS lookup for each address of the machine.
  Object.assign(process.report, { excludeNetwork: true });
  const { userLimits } = process.report.getReport() as {
    userLimits?: { open_files?: { soft: number | 'unlimited' } };
  };
  const soft = userLimits?.open_files?.soft;
  return typeof soft === 'number' ? soft : Number.POSITIVE_INFINITY;
}

/** @param others See {@link otherConnections}. */
export function shareOut(limit: number, others: number): OpenFiles {
  const part = Math.floor(limit * ADMIN_PART);
  const adminConnections = Math.max(LEAST_ADMIN_CONNECTIONS, Math.min(part, ADMIN_CONNECTIONS));
  const left = limit - OWN_FILES - adminConnections - others;
  return { adminConnections, connections: Math.max(1, Math.floor(left / 2)) };
}

/** Open files that the gateway may need in total for so many client connections. */
export const filesFor = (connections: number, others: number): number =>
  2 * connections + OWN_FILES + ADMIN_CONNECTIONS + others;

/** Connections that `MAX_CONNECTIONS` does not count: one for the health checks of each backend, and those of `HTTP_REDIRECT_PORT`. */
export function otherConnections({
  backends,
  declaration,
  httpsRedirect,
}: Pick<Config, 'backends' | 'declaration' | 'httpsRedirect'>): number {
  const all = declaration === undefined ? [backends] : Object.values(declaration.services).map((one) => one.backends);
  return all.flat().length + (httpsRedirect === undefined ? 0 : REDIRECT_CONNECTIONS);
}

/** Lowers `MAX_CONNECTIONS` to what the limit of open files allows, and logs it: as a warning where an operator has chosen the number. */
export function withinOpenFiles(config: Config, log: Logger, limit: number = openFileLimit()) {
  const { bounds } = config;
  const count = otherConnections(config);
  const { connections, adminConnections } = shareOut(limit, count);
  const wanted = bounds.maxConnections;
  const fits = wanted === 0 ? connections === Number.POSITIVE_INFINITY : wanted <= connections;
  if (fits) return { config, adminConnections };
  const facts = { openFiles: limit, wanted, maxConnections: connections };
  const needs = wanted === 0 ? 'a bound' : `${filesFor(wanted, count)} open files`;
  log[wanted === DEFAULT_MAX_CONNECTIONS ? 'info' : 'warn'](
    facts,
    `MAX_CONNECTIONS is lowered to ${connections}: ${wanted} needs ${needs}, and ulimit -n is ${limit}`,
  );
  return { config: { ...config, bounds: { ...bounds, maxConnections: connections } }, adminConnections };
}
