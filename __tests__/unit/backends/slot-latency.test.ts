import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Backend } from '../../../lib/backends/backend.ts';
import type { Slot } from '../../../lib/backends/slot.ts';
import { Circuit, circuitDefaults } from '../../../lib/circuit-breaker/circuit.ts';
import { microtasks } from '../circuit-breaker/microtasks.ts';

beforeEach(() => {
  jest.useFakeTimers({ now: 1_700_000_000_000 });
});
afterEach(() => {
  jest.useRealTimers();
});

function makeBackend(observesLatency = true): Backend {
  const config = { url: new URL('http://a'), weight: 1 };
  return new Backend(config, new Circuit('a', circuitDefaults), { slowStartMs: 0, observesLatency });
}

const later = (ms: number) => jest.advanceTimersByTime(ms);
const begin = (backend: Backend) => backend.acquire() as Slot;

describe('the latency of a backend', () => {
  test('is the time from the end of the request to the head of the answer', () => {
    const backend = makeBackend();
    const slot = begin(backend);
    later(1_000);
    slot.sent();
    later(20);
    slot.responded(true);
    expect(backend.latencyMs).toBe(20);
    later(0);
    slot.release('success');
    expect(backend.latencyMs).toBe(20);
  });

  test('is measured once per request, however long the content takes', () => {
    const backend = makeBackend();
    const slot = begin(backend);
    slot.sent();
    later(20);
    slot.responded(true);
    slot.settle('success');
    later(5_000);
    slot.release('success');
    slot.release('failure');
    expect(backend.latencyMs).toBeCloseTo(20 * Math.exp(-0.5));
  });

  test('an upgrade has one at its head, not at its end', () => {
    const backend = makeBackend();
    const slot = begin(backend);
    slot.sent();
    later(20);
    slot.settle('success');
    later(3_600_000);
    slot.release('neutral');
    expect(backend.latencyMs).toBeLessThan(20);
  });

  test('a client that leaves tells how long it takes at least, unless it was still sending', () => {
    const backend = makeBackend();
    const waiting = begin(backend);
    waiting.sent();
    later(3_000);
    waiting.release('neutral');
    expect(backend.latencyMs).toBe(3_000);
    const sending = begin(backend);
    later(60_000);
    sending.release('neutral');
    expect(backend.latencyMs).toBeLessThan(3_000);
  });

  test('a failure raises it, after the head as well', () => {
    const backend = makeBackend();
    const slot = begin(backend);
    slot.sent();
    later(10);
    slot.responded(true);
    slot.release('failure');
    expect(backend.latencyMs).toBe(20);
    begin(backend).release('failure');
    expect(backend.latencyMs).toBe(40);
  });

  test('is forgotten when the circuit closes again', async () => {
    const backend = makeBackend();
    for (let call = 0; call < 5; call += 1) {
      const slot = begin(backend);
      slot.sent();
      later(10);
      slot.release('failure');
    }
    await microtasks();
    expect(backend.latencyMs).toBeGreaterThan(0);
    later(10_000);
    for (let trial = 0; trial < 3; trial += 1) {
      begin(backend).release('success');
      await microtasks();
    }
    expect(backend.circuit.state).toBe('closed');
    expect(backend.latencyMs).toBe(0);
  });

  test('is not measured unless wanted', () => {
    const backend = makeBackend(false);
    const clock = jest.spyOn(performance, 'now');
    const slot = begin(backend);
    slot.sent();
    later(20);
    slot.responded(true);
    slot.release('success');
    expect(backend.latencyMs).toBe(0);
    expect(clock).not.toHaveBeenCalled();
    clock.mockRestore();
  });
});
