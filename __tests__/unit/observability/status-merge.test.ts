import { describe, expect, test } from '@jest/globals';
import {
  type BackendRow,
  mergeHistories,
  mergeSnapshots,
  type StatusSnapshot,
  type TrafficHistory,
  type TrafficSlot,
} from 'expressway';

const row = (changes: Partial<BackendRow> = {}): BackendRow => ({
  service: 'p',
  backend: 'http://a',
  circuit: 'closed',
  health: 'healthy',
  held: undefined,
  weight: 1,
  inFlight: 1,
  concurrency: undefined,
  requestsPerSecond: 2.5,
  retryAfterMs: 0,
  lastCheckAt: 5,
  changedAt: undefined,
  lastError: undefined,
  processes: 1,
  unavailableIn: 0,
  ...changes,
});

const snapshot = (pid: number, changes: Partial<StatusSnapshot> = {}): StatusSnapshot => ({
  at: pid,
  problems: [],
  processes: [{ pid } as StatusSnapshot['processes'][0]],
  load: { inFlight: 1, waiting: 2, retriesLeft: 3 },
  rates: { requests: 10, backendErrors: 1, gatewayErrors: 0.5, limited: 2 },
  backends: [row()],
  routes: [],
  routeCount: 0,
  limiters: [{ name: 'ip', mode: 'redis' }],
  breakers: [{ name: 'route', state: 'closed', retryAfterMs: 0 }],
  clients: [{ key: 'c', limiter: 'ip', refused: 3, overcount: 1, lastAt: pid, limit: pid, shadow: false }],
  changes: [{ at: pid, kind: 'circuit', subject: 'http://a', text: `${pid}`, isBad: true }],
  ...changes,
});

describe('mergeSnapshots', () => {
  test('adds numbers, and shows the worst state of all processes', () => {
    const open = row({
      circuit: 'open',
      health: 'unhealthy',
      unavailableIn: 1,
      retryAfterMs: 900,
      changedAt: 7,
      lastError: { at: 7, text: 'later' },
    });
    const one = snapshot(1, { backends: [row({ lastError: { at: 3, text: 'earlier' } })] });
    const two = snapshot(2, {
      backends: [open, row({ backend: 'http://b' })],
      limiters: [{ name: 'ip', mode: 'local' }],
    });
    const given = structuredClone([one, two]);
    expect(mergeSnapshots([one, two])).toEqual({
      at: 2,
      problems: [],
      processes: [{ pid: 1 }, { pid: 2 }],
      load: { inFlight: 2, waiting: 4, retriesLeft: 6 },
      routes: [],
      routeCount: 0,
      rates: { requests: 20, backendErrors: 2, gatewayErrors: 1, limited: 4 },
      backends: [
        row({
          circuit: 'open',
          health: 'unhealthy',
          inFlight: 2,
          requestsPerSecond: 5,
          retryAfterMs: 900,
          changedAt: 7,
          lastError: { at: 7, text: 'later' },
          processes: 2,
          unavailableIn: 1,
        }),
        row({ backend: 'http://b' }),
      ],
      limiters: [{ name: 'ip', mode: 'local' }],
      breakers: [{ name: 'route', state: 'closed', retryAfterMs: 0 }],
      clients: [{ key: 'c', limiter: 'ip', refused: 6, overcount: 2, lastAt: 2, limit: 2, shadow: false }],
      changes: [two.changes[0], one.changes[0]],
    });
    expect([one, two]).toEqual(given);
  });

  test('the order of the processes, and merging in steps, change nothing', () => {
    const all = [1, 2, 3].map((pid) =>
      snapshot(pid, { backends: [row({ inFlight: pid, held: pid === 2 ? 'drained' : undefined })] }),
    );
    const [one, two, three] = all as [StatusSnapshot, StatusSnapshot, StatusSnapshot];
    const whole = mergeSnapshots(all);
    expect(mergeSnapshots([mergeSnapshots([one, two]), three])).toEqual(whole);
    const back = mergeSnapshots([three, two, one]);
    expect({ ...back, processes: [] }).toEqual({ ...whole, processes: [] });
    expect(whole.backends[0]?.held).toBe('drained');
  });

  test('needs at least one', () => {
    expect(() => mergeSnapshots([])).toThrow(RangeError);
    expect(() => mergeHistories([])).toThrow(RangeError);
  });
});

const slot = (at: number, changes: Partial<TrafficSlot> = {}): TrafficSlot => ({
  at,
  requests: 1,
  backendErrors: 0,
  gatewayErrors: 0,
  limited: 0,
  durations: [1, 0],
  loopLagMs: 1,
  ...changes,
});

const history = (changes: Partial<TrafficHistory>): TrafficHistory => ({
  slotMs: 10,
  length: 90,
  boundsMs: [1],
  slots: [],
  backendSlots: [],
  backends: [],
  ...changes,
});

describe('mergeHistories', () => {
  test('adds slots of the same time, in any order of the processes', () => {
    const series = (values: number[]) => ({
      service: 'p',
      backend: 'http://a',
      requests: values,
      totalMs: values,
      failures: values,
    });
    const merged = mergeHistories([
      history({ slots: [slot(10), slot(20)], backendSlots: [10, 20], backends: [series([1, 2])] }),
      history({
        slots: [slot(20, { durations: [2, 3], limited: 4, loopLagMs: 9 }), slot(30)],
        backendSlots: [20, 30],
        backends: [series([10, 20])],
      }),
    ]);
    expect(merged.slots).toEqual([
      slot(10),
      slot(20, { requests: 2, durations: [3, 3], limited: 4, loopLagMs: 9 }),
      slot(30),
    ]);
    expect(merged.backendSlots).toEqual([10, 20, 30]);
    expect(merged.backends).toEqual([series([1, 12, 20])]);
  });
});
