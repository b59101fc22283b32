import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { TimeoutBlame } from '../../../lib/backends/timeout-blame.ts';
import { Circuit } from '../../../lib/circuit-breaker/circuit.ts';
import { circuitDefaults } from '../../../lib/circuit-breaker/circuit-options.ts';

beforeEach(() => {
  jest.useFakeTimers({ now: 1_700_000_000_000 });
});
afterEach(() => {
  jest.useRealTimers();
});

const WINDOW_MS = 10_000;

/** What a circuit with the defaults does about timeouts of these clients, one after another, in so many milliseconds each. */
function timeouts(clients: readonly (string | undefined)[], { pauseMs = 0, life = false, windowMs = WINDOW_MS } = {}) {
  const circuit = new Circuit('a', { ...circuitDefaults, windowMs });
  const blame = new TimeoutBlame(circuit);
  for (const client of clients) {
    const permit = circuit.tryAcquire();
    const signsBefore = blame.signsOfLife;
    if (life) blame.showedLife();
    permit?.settle(blame.judge(signsBefore, client) === 'counts' ? 'failure' : 'neutral');
    jest.advanceTimersByTime(pauseMs);
  }
  return { circuit, blame, failures: () => circuit.counts.failures };
}

const same = (count: number, client?: string) => new Array<string | undefined>(count).fill(client);
const different = (count: number) => Array.from({ length: count }, (_, index) => `192.0.2.${index}`);

describe('timeouts that open a circuit', () => {
  test.each<[string, readonly (string | undefined)[], object, 'open' | 'closed']>([
    ['six slow polls of one client', same(6, '192.0.2.1'), {}, 'closed'],
    ['a thousand slow polls of one client', same(1_000, '192.0.2.1'), {}, 'closed'],
    ['one client for an hour, a poll a second', same(3_600, '192.0.2.1'), { pauseMs: 1_000 }, 'closed'],
    ['six clients', different(6), {}, 'open'],
    ['six clients, of which one polls all the time', [...same(50, '192.0.2.9'), ...different(5)], {}, 'open'],
    ['four clients with many requests each', [...different(4), ...different(4), ...different(4)], {}, 'closed'],
    ['six clients while the backend responds to others', different(6), { life: true }, 'closed'],
    ['six requests over a Unix socket, which has no address', same(6), {}, 'open'],
    ['one client, where calls count as long as the circuit is closed', same(50, 'a'), { windowMs: 0 }, 'closed'],
    ['six clients, where calls count as long as the circuit is closed', different(6), { windowMs: 0 }, 'open'],
  ])('%s', async (_what, clients, options, state) => {
    const { circuit } = timeouts(clients, options);
    await jest.advanceTimersByTimeAsync(0);
    expect(circuit.state).toBe(state);
  });
});

describe('timeouts of one client count again', () => {
  test('after a window of the circuit, not before', () => {
    const { blame } = timeouts(['a']);
    jest.advanceTimersByTime(WINDOW_MS - 1);
    expect(blame.judge(0, 'a')).toBe('repeated');
    jest.advanceTimersByTime(1);
    expect(blame.judge(0, 'a')).toBe('counts');
    expect(blame.judge(0, 'a')).toBe('repeated');
  });

  test('once the circuit has changed its state', () => {
    const { circuit, blame } = timeouts(['a']);
    expect(blame.judge(0, 'a')).toBe('repeated');
    circuit.isolate();
    expect(blame.judge(0, 'a')).toBe('counts');
  });

  test('after a clock was set back', () => {
    const { blame } = timeouts(['a']);
    jest.setSystemTime(Date.now() - 3_600_000);
    expect(blame.judge(0, 'a')).toBe('counts');
    expect(blame.judge(0, 'a')).toBe('repeated');
  });

  test('when a thousand others have counted since: memory is bounded', () => {
    const { blame } = timeouts(['first', 'second']);
    for (let client = 0; client < 999; client += 1) expect(blame.judge(0, `client ${client}`)).toBe('counts');
    expect(blame.judge(0, 'second')).toBe('repeated');
    expect(blame.judge(0, 'first')).toBe('counts');
    expect(blame.judge(0, 'second')).toBe('counts');
  });
});
