import { rate, short, span } from './format.js';

/** A share of errors from which they are worth a word. */
const NOTICEABLE = 0.01;

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

const MODES = {
  local: 'Redis is away: each gateway counts for itself',
  open: 'Redis is away: nobody is limited',
  closed: 'Redis is away: everybody is refused',
};

/** The headline and its reasons, the worst first. */
export function verdictOf(state) {
  const reasons = [];
  const out = state.backends.filter((row) => !takesTraffic(row));
  const taking = state.backends.length - out.length;
  const add = (level, text) => reasons.push({ level, text });

  for (const row of out.slice(0, 3)) {
    const { word, why, level } = stateOf(row);
    const cause = row.lastError && level !== 'held' ? ` (${row.lastError.text})` : '';
    add(taking === 0 ? 'bad' : 'warn', `${short(row.backend)} is out: ${why || word.toLowerCase()}${cause}`);
  }
  if (out.length > 3) add('warn', `and ${out.length - 3} more`);
  for (const { name, state: circuit } of state.breakers) {
    if (circuit !== 'closed') add(circuit === 'half-open' ? 'warn' : 'bad', `The circuit "${name}" is ${circuit}`);
  }
  for (const { name, mode } of state.limiters) {
    if (mode in MODES) add(mode === 'closed' ? 'bad' : 'warn', `Limiter "${name}": ${MODES[mode]}`);
  }
  const { requests, backendErrors, gatewayErrors } = state.rates;
  if (requests > 0 && backendErrors + gatewayErrors > requests * NOTICEABLE) {
    if (backendErrors > 0) add('warn', `${rate(backendErrors)} errors/s are the backends' fault`);
    if (gatewayErrors > 0) add('warn', `${rate(gatewayErrors)} errors/s are the gateway's own`);
  }

  if (state.phase !== 'running')
    return { level: 'warn', title: state.phase === 'starting' ? 'Starting' : 'Stopping', reasons };
  if (state.backends.length > 0 && taking === 0)
    return { level: 'bad', title: 'Down: no backend takes traffic', reasons };
  if (reasons.some(({ level }) => level === 'bad')) return { level: 'bad', title: 'Down', reasons };
  if (out.length > 0)
    return { level: 'warn', title: `Up, with ${out.length} of ${state.backends.length} backends out`, reasons };
  if (reasons.length > 0) return { level: 'warn', title: 'Up, with trouble', reasons };
  return {
    level: 'ok',
    title: `Up: ${taking === 1 ? 'the backend takes' : `all ${taking} backends take`} traffic`,
    reasons,
  };
}

/** The tightest of what a process has only so much of, from 0 to 1. */
export function tightest(state) {
  const uses = state.processes.flatMap((one) => [
    { part: one.loopBusy, what: 'event loop' },
    { part: one.heapUsedBytes / one.heapLimitBytes, what: 'heap' },
    { part: one.maxConnections > 0 ? one.connections / one.maxConnections : 0, what: 'connections' },
  ]);
  return uses.reduce((most, use) => (use.part > most.part ? use : most), { part: 0, what: 'event loop' });
}
