import { MAX_WEIGHT } from '../backend-url.ts';
import type { ServerRecord } from './discovery-options.ts';

/** Weight of a server whose SRV record says 0 while others have more. */
const SMALL_CHANCE = 0.01;

/** A server of the service, from an SRV record. */
export type Server = ServerRecord;

/** The root name means that there is no such service (RFC 2782). */
export function namesServer({ name, port }: ServerRecord): boolean {
  return name !== '' && name !== '.' && port >= 1 && port <= 65_535;
}

/**
 * Scales the weights of SRV records (0 to 65 535) down to ours, at least 1: 50 and 100 become 1 and 2, so that servers of equal
 * weight weigh as much as a backend without a weight.
 *
 * Weight 0 beside others is "a very small chance" (RFC 2782): a hundredth of the weight 1. Where all are 0 they are equal.
 */
export function weigh(records: readonly ServerRecord[]): Server[] {
  const weights = records.map(({ weight }) => weight);
  const unit = weights.reduce(greatestCommonDivisor, 0) || 1;
  const scale = Math.min(1, MAX_WEIGHT / (Math.max(...weights) / unit));
  const isMixed = weights.some((weight) => weight > 0);
  return records.map((record) => {
    if (record.weight === 0 && isMixed) return { ...record, weight: SMALL_CHANCE };
    return { ...record, weight: Math.max(1, Math.round((record.weight / unit) * scale)) };
  });
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

/**
 * The servers to use: those with the best priority (the lowest number) of which at least one has an address (RFC 2782). Circuits and
 * health checks find backends that are down.
 */
export function inUse(servers: readonly Server[], hasAddress: (server: Server) => boolean): Server[] {
  const found = servers.filter(hasAddress);
  const best = Math.min(...found.map(({ priority }) => priority));
  return found.filter(({ priority }) => priority === best);
}
