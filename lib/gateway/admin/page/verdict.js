import { count, span } from './format.js';

/**
 * How a backend is, in words that need no legend. The levels have shapes and words of their own besides their colours: red for out,
 * amber for something to watch, violet for kept out on purpose.
 */
export function stateOf(row, now) {
  const some = row.processes > 1 && row.unavailableIn < row.processes && row.unavailableIn > 0;
  const elsewhere = some ? ` in ${row.unavailableIn} of ${row.processes} workers` : '';
  if (row.held === 'isolated') return { level: 'held', word: 'Isolated', why: 'an operator keeps all requests away' };
  if (row.held === 'drained') {
    return row.inFlight > 0
      ? { level: 'held', word: 'Draining', why: 'an operator lets running requests end' }
      : { level: 'held', word: 'Drained', why: 'an operator keeps new requests away' };
  }
  if (row.circuit !== 'closed') return circuitState(row, elsewhere);
  if (row.health === 'unhealthy') {
    return { level: 'bad', word: `Unhealthy${elsewhere}`, why: 'fails its health checks' };
  }
  if (row.weight === 0) return { level: 'held', word: 'Off', why: 'its weight is 0' };
  const { concurrency } = row;
  if (concurrency?.limitedSince !== undefined) {
    const since = span(now - concurrency.limitedSince);
    return { level: 'warn', word: 'At its limit', why: `adaptive limit of ${count(concurrency.limit)}, for ${since}` };
  }
  if (row.unavailableIn >= row.processes) {
    return { level: 'warn', word: 'Busy', why: 'full, or it asked for a pause (Retry-After)' };
  }
  return { level: 'ok', word: 'Up', why: row.health === 'healthy' ? 'passes its health checks' : '' };
}

/** A circuit that is not closed, of a backend or of a route. */
export function circuitState({ circuit, retryAfterMs }, elsewhere = '') {
  if (circuit === 'half-open') {
    return { level: 'warn', word: `Circuit half-open${elsewhere}`, why: 'trial requests decide' };
  }
  if (circuit === 'isolated') return { level: 'held', word: 'Isolated', why: 'its circuit is held open' };
  return retryAfterMs > 0
    ? { level: 'bad', word: `Circuit open${elsewhere}`, why: `no requests for ${span(Math.max(1_000, retryAfterMs))}` }
    : { level: 'warn', word: `Circuit open${elsewhere}`, why: 'the next request is a trial' };
}

export const takesTraffic = ({ unavailableIn, processes }) => unavailableIn < processes;

/** Who counts for a limiter, and whether that is exact. */
export const MODES = {
  memory: { isExact: true, text: 'exact' },
  redis: { isExact: true, text: 'exact (Redis)' },
  local: { isExact: false, text: 'fallback: each process counts for itself' },
  open: { isExact: false, text: 'fallback: no client is limited' },
  closed: { isExact: false, text: 'fallback: all requests are rejected' },
};

/** The resource with the least headroom, and the used part of it, from 0 to 1. */
export function tightest(state) {
  const uses = state.processes.flatMap((one) => [
    { part: one.loopBusy, what: 'event loop' },
    { part: one.heapUsedBytes / one.heapLimitBytes, what: 'heap' },
    { part: one.maxConnections > 0 ? one.connections / one.maxConnections : 0, what: 'connections' },
  ]);
  return uses.reduce((most, use) => (use.part > most.part ? use : most), { part: 0, what: 'event loop' });
}
