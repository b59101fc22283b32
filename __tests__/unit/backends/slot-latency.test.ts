import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Backend } from '../../../lib/backends/backend.ts';
import { adaptiveConcurrencyDefaults } from '../../../lib/backends/concurrency-options.ts';
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
  test('is the time from the end of the request to the head of the response', () => {
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

describe('the adaptive limit of a backend', () => {
  const open = (limit: number) => {
    const config = { url: new URL('http://a'), weight: 1 };
    const concurrency = { ...adaptiveConcurrencyDefaults, initialLimit: limit };
    return new Backend(config, new Circuit('a', circuitDefaults), {
      slowStartMs: 0,
      observesLatency: false,
      concurrency,
    });
  };
  /** So many requests, one after another; `end` ends each one. */
  const requests = (backend: Backend, count: number, end: (slot: Slot) => void) => {
    for (let request = 0; request < count; request += 1) {
      const slot = begin(backend);
      slot.sent();
      end(slot);
    }
  };
  const unloadedMs = (backend: Backend) => backend.status().concurrency?.unloadedMs;

  test('learns from responses, not from errors and upgrades', () => {
    const backend = open(50);
    requests(backend, 100, (slot) => {
      later(2);
      slot.responded(false);
      // Not a failure here, which would open the circuit.
      slot.release('neutral');
    });
    requests(backend, 100, (slot) => {
      later(2);
      slot.settle('success');
      slot.release('neutral');
    });
    expect(unloadedMs(backend)).toBe(0);
    requests(backend, 20, (slot) => {
      later(30);
      slot.responded(true);
      slot.release('success');
    });
    expect(unloadedMs(backend)).toBe(30);
  });

  test('learns from a wait that a client ended only when it took longer than a response', () => {
    const backend = open(50);
    requests(backend, 200, (slot) => {
      later(10);
      slot.responded(true);
      slot.release('success');
    });
    requests(backend, 200, (slot) => {
      later(5);
      slot.release('neutral');
    });
    expect(unloadedMs(backend)).toBeCloseTo(10);
    requests(backend, 200, (slot) => {
      later(15);
      slot.release('neutral');
    });
    expect(unloadedMs(backend)).toBeGreaterThan(10.5);
  });

  test('counts a request until its response head, however often the head is reported', () => {
    const backend = open(4);
    const slots = [1, 2, 3, 4].map(() => begin(backend));
    expect(backend.isAvailable()).toBe(false);
    expect([backend.isOnlyFull(), backend.isAtLimit()]).toEqual([true, true]);
    slots[0]?.responded(true);
    slots[0]?.responded(true);
    slots[0]?.release('success');
    slots[0]?.release('success');
    expect(backend.status().concurrency).toMatchObject({ limit: 4, inFlight: 3 });
    expect([backend.isAvailable(), backend.isOnlyFull(), backend.isAtLimit()]).toEqual([true, false, false]);
  });

  test('is no reason when something else keeps the backend out', () => {
    const backend = open(4);
    for (let request = 0; request < 4; request += 1) begin(backend);
    backend.drain();
    expect([backend.isAvailable(), backend.isOnlyFull(), backend.isAtLimit()]).toEqual([false, false, false]);
  });

  test('begins anew when the circuit has closed again', async () => {
    const backend = open(50);
    requests(backend, 100, (slot) => {
      later(10);
      slot.responded(true);
      slot.release('success');
    });
    backend.circuit.isolate().dispose();
    await microtasks();
    expect(backend.status().concurrency).toEqual({ limit: 50, inFlight: 0, unloadedMs: 0 });
  });
});
