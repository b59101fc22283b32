import { MAX_WEIGHT } from './backend-url.ts';
import type { ServerRecord } from './discovery-options.ts';

/** Where a discovered name says that the service is. */
export type Server = ServerRecord;

/** A root name is the way to say that there is no such service (RFC 2782). */
export function namesServer({ name, port }: ServerRecord): boolean {
  return name !== '' && name !== '.' && port >= 1 && port <= 65_535;
}

/**
 * Brings the weights of SRV records (0 to 65 535) down to ours, at least 1: 50 and 100 become 1 and 2, so that servers of
 * equal weight weigh as much as a backend that is named without a weight.
 *
 * A weight of 0 is for servers that need no choosing, or "a very small chance" beside others (RFC 2782): not for none.
 */
export function weigh(records: readonly ServerRecord[]): Server[] {
  const weights = records.map(({ weight }) => weight);
  const unit = weights.reduce(greatestCommonDivisor, 0) || 1;
  const scale = Math.min(1, MAX_WEIGHT / (Math.max(...weights) / unit));
  return records.map((record) => ({ ...record, weight: Math.max(1, Math.round((record.weight / unit) * scale)) }));
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

/**
 * The servers to use: those of the best priority (the lowest number) of which any can be reached (RFC 2782); as far as
 * DNS knows, since backends that are down are for circuits and health checks to tell.
 */
export function inUse(servers: readonly Server[], hasAddress: (server: Server) => boolean): Server[] {
  const found = servers.filter(hasAddress);
  const best = Math.min(...found.map(({ priority }) => priority));
  return found.filter(({ priority }) => priority === best);
}
