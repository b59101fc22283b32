import { span } from './format.js';

/** How a backend is, in one word, and why. The levels have shapes and words of their own besides their colours. */
export function stateOf(row) {
  const elsewhere =
    row.processes > 1 && row.unavailableIn < row.processes ? ` in ${row.unavailableIn} of ${row.processes}` : '';
  const wait = row.retryAfterMs > 0 ? `trial in ${span(row.retryAfterMs)}` : 'trial with the next request';
  if (row.held === 'isolated') return { level: 'held', word: 'Isolated', why: 'by an operator' };
  if (row.held === 'drained') {
    return { level: 'held', word: row.inFlight > 0 ? 'Draining' : 'Drained', why: 'by an operator' };
  }
  if (row.circuit === 'open') return { level: 'bad', word: `Open${elsewhere}`, why: `circuit open, ${wait}` };
  if (row.circuit === 'half-open') return { level: 'warn', word: `Half-open${elsewhere}`, why: 'on trial' };
  if (row.circuit === 'isolated') return { level: 'held', word: 'Isolated', why: 'its circuit is isolated' };
  if (row.health === 'unhealthy') return { level: 'bad', word: 'Unhealthy', why: 'fails its health checks' };
  if (row.weight === 0) return { level: 'held', word: 'Off', why: 'weight 0' };
  if (row.unavailableIn >= row.processes) return { level: 'warn', word: 'Busy', why: 'full, or asked for a rest' };
  return { level: 'ok', word: 'Up', why: row.health === 'healthy' ? 'healthy' : '' };
}

export const takesTraffic = ({ unavailableIn, processes }) => unavailableIn < processes;

/** The tightest of what a process has only so much of, from 0 to 1. */
export function tightest(state) {
  const uses = state.processes.flatMap((one) => [
    { part: one.loopBusy, what: 'event loop' },
    { part: one.heapUsedBytes / one.heapLimitBytes, what: 'heap' },
    { part: one.maxConnections > 0 ? one.connections / one.maxConnections : 0, what: 'connections' },
  ]);
  return uses.reduce((most, use) => (use.part > most.part ? use : most), { part: 0, what: 'event loop' });
}
