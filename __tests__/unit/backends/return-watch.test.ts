import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Backend } from '../../../lib/backends/backend.ts';
import { ReturnWatch } from '../../../lib/backends/health/return-watch.ts';
import { Circuit, circuitDefaults } from '../../../lib/circuit-breaker/circuit.ts';
import type { FailureCause } from '../../../lib/core/outcome.ts';

const T0 = 1_700_000_000_000;

beforeEach(() => {
  jest.useFakeTimers({ now: T0 });
});
afterEach(() => {
  jest.useRealTimers();
});

/** A backend whose connections are tried with these results, one after the other; the last one is repeated. */
function watched(...results: (FailureCause | 'accepted')[]) {
  const circuit = new Circuit('a', { ...circuitDefaults, openMs: 10_000 });
  const backend = new Backend({ url: new URL('http://a'), weight: 1 }, circuit);
  const tries: number[] = [];
  const watch = new ReturnWatch(
    async () => {
      tries.push(Date.now() - T0);
      const result = results[Math.min(tries.length, results.length) - 1];
      return result === 'accepted' ? undefined : result;
    },
    ({ circuit: returned }) => returned.reset(),
  );
  watch.membershipChanged({ added: [backend], removed: [] });
  /** Opens the circuit with requests that fail like this. */
  const fail = async (cause: FailureCause): Promise<void> => {
    for (let request = 0; request < 5; request++) {
      const place = backend.acquire();
      backend.lastFailure = cause;
      place?.release('failure');
    }
    await jest.advanceTimersByTimeAsync(0);
    expect(circuit.state).toBe('open');
  };
  return { backend, circuit, watch, tries, fail };
}

describe('a circuit that refused connections have opened', () => {
  test('closes at the first accepted connection; the delay between attempts doubles up to 2 s', async () => {
    const { circuit, tries, fail } = watched(...Array(7).fill('connection_refused'), 'accepted');
    await fail('connection_refused');
    await jest.advanceTimersByTimeAsync(9_000);
    expect(tries).toEqual([100, 300, 700, 1_500, 3_100, 5_100, 7_100]);
    expect(circuit.state).toBe('open');
    await jest.advanceTimersByTimeAsync(101);
    expect([tries.length, circuit.state]).toEqual([8, 'closed']);
    expect(circuit.counts).toEqual({ calls: 0, failures: 0 });
    await jest.advanceTimersByTimeAsync(60_000);
    expect(tries.length).toBe(8);
  });

  test('reports that the backend is down, with Retry-After until the next attempt', async () => {
    const { backend, fail } = watched('connection_refused', 'accepted');
    expect(backend.isAway).toBe(false);
    await fail('connection_refused');
    expect(backend.isAway).toBe(true);
    expect(backend.retryAfterMs()).toBe(2_000);
    await jest.advanceTimersByTimeAsync(300);
    expect([backend.isAway, backend.retryAfterMs()]).toEqual([false, 0]);
  });

  test('begins again with each opening', async () => {
    const { tries, fail } = watched('connection_refused', 'accepted', 'connection_refused', 'accepted');
    await fail('connection_refused');
    await jest.advanceTimersByTimeAsync(1_000);
    await fail('connection_refused');
    await jest.advanceTimersByTimeAsync(1_000);
    expect(tries).toEqual([100, 300, 1_100, 1_300]);
  });
});

describe('a machine that could not be reached', () => {
  test('closes the circuit when it is reachable again, and no client request is sent before', async () => {
    const { backend, circuit, fail } = watched('destination_ip_unroutable', 'connection_timeout', 'accepted');
    await fail('destination_ip_unroutable');
    expect(backend.isAway).toBe(false);
    await jest.advanceTimersByTimeAsync(701);
    expect(circuit.state).toBe('closed');
  });
});

describe('a circuit that reset connections have opened', () => {
  test('closes when connections were refused and are accepted again: the process was killed and started', async () => {
    const { circuit, fail } = watched('connection_refused', 'accepted');
    await fail('connection_terminated');
    await jest.advanceTimersByTimeAsync(301);
    expect(circuit.state).toBe('closed');
  });

  test('stays open when they are accepted: the process is there and resets them', async () => {
    const { backend, circuit, tries, fail } = watched('accepted');
    await fail('connection_terminated');
    await jest.advanceTimersByTimeAsync(9_000);
    expect([circuit.state, tries, backend.isAway]).toEqual(['open', [100], false]);
    expect(backend.retryAfterMs()).toBe(1_000);
  });
});

test.each<FailureCause>([
  'http_response_timeout',
  'connection_timeout',
  'http_protocol_error',
  'http_response_incomplete',
  'tls_certificate_error',
])('a circuit that %s has opened stays open, and no connection is tried', async (cause) => {
  const { circuit, tries, fail } = watched('accepted');
  await fail(cause);
  await jest.advanceTimersByTimeAsync(9_999);
  expect([circuit.state, tries]).toEqual(['open', []]);
});

test.each(['close()', 'removal', 'isolation'])(
  'after %s no connection is tried, and a late result is ignored',
  async (how) => {
    const { backend, circuit, watch, tries, fail } = watched('connection_refused', 'accepted');
    await fail('connection_refused');
    await jest.advanceTimersByTimeAsync(100);
    if (how === 'close()') watch.close();
    else if (how === 'removal') watch.membershipChanged({ added: [], removed: [backend] });
    else circuit.isolate();
    await jest.advanceTimersByTimeAsync(5_000);
    expect([tries, backend.isAway]).toEqual([[100], false]);
    expect(circuit.state).toBe(how === 'isolation' ? 'isolated' : 'open');
  },
);
