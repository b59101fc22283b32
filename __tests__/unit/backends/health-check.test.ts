import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { HealthCheckRules, ProbeAnswer } from '../../../lib/backends/health/health-check.ts';
import { HealthCheck } from '../../../lib/backends/health/health-check.ts';
import { healthCheckDefaults } from '../../../lib/backends/health/health-check-options.ts';
import { HealthStory, makeBackends } from './health-story.ts';

beforeEach(() => {
  jest.useFakeTimers({ now: 1_700_000_000_000 });
});
afterEach(() => {
  jest.useRealTimers();
  jest.restoreAllMocks();
});

const s = (...seconds: number[]): number[] => seconds.map((second) => second * 1_000);
const FAILED = 'the health check got status 500';
const LATE = 'the health check took longer than 2000 ms';

describe('the schedule of health checks', () => {
  const table: readonly (readonly [string, string, Partial<HealthCheckRules>, number[], string[]])[] = [
    ['one pass makes a new backend healthy', 'pppp', {}, s(0, 10, 20, 30), ['0 unknown > healthy']],
    [
      'three failures make it unhealthy, then every 2 s, two passes bring it back',
      'pfffpppp',
      {},
      s(0, 10, 20, 30, 32, 34, 44, 54),
      ['0 unknown > healthy', `30000 healthy > unhealthy: ${FAILED}`, '34000 unhealthy > healthy'],
    ],
    ['two failures in a row are not enough', 'pffpffp', {}, s(0, 10, 20, 30, 40, 50, 60), ['0 unknown > healthy']],
    [
      'a backend that fails from the start is unhealthy after three',
      'fffp',
      {},
      s(0, 10, 20, 22),
      [`20000 unknown > unhealthy: ${FAILED}`],
    ],
    ['a failure before the first verdict asks for no more passes', 'fp', {}, s(0, 10), ['10000 unknown > healthy']],
    [
      'a failure between two passes starts the count again',
      'fffpfpp',
      {},
      s(0, 10, 20, 22, 24, 26, 28),
      [`20000 unknown > unhealthy: ${FAILED}`, '28000 unhealthy > healthy'],
    ],
    // The timeout waits for two turns of the event loop, each a millisecond of fake time.
    [
      'a check that hangs fails when its time is up, and the pause begins then',
      'phhhhp',
      {},
      s(0, 10, 22.002, 34.004, 38.006, 42.008),
      ['0 unknown > healthy', `36006 healthy > unhealthy: ${LATE}`],
    ],
    [
      'every number is an option',
      'pfppp',
      { unhealthyAfter: 1, healthyAfter: 3, intervalMs: 500, unhealthyIntervalMs: 50 },
      [0, 500, 550, 600, 650],
      ['0 unknown > healthy', `500 healthy > unhealthy: ${FAILED}`, '650 unhealthy > healthy'],
    ],
  ];

  test.each(table)('%s: %s', async (_name, script, rules, checks, changes) => {
    const story = new HealthStory(script, rules);
    await story.begun(script.length);
    expect(story.checks).toEqual(checks);
    expect(story.changes).toEqual(changes);
    expect(story.mostInFlight).toBe(1);
  });

  test.each([
    [0, 8_000],
    [0.5, 10_000],
    [1 - 2 ** -53, 12_000],
  ])('a pause is up to a fifth shorter or longer: random %d', async (random, second) => {
    jest.spyOn(Math, 'random').mockReturnValue(random);
    const story = new HealthStory('p', { jitter: 0.2 });
    await story.begun(2);
    expect(story.checks).toEqual([0, second]);
  });

  test('the longest pause with jitter is still one that a timer can hold', async () => {
    jest.spyOn(Math, 'random').mockReturnValue(0.9);
    const story = new HealthStory('p', { jitter: 0.2, intervalMs: 2 ** 31 - 1 });
    await story.later(1_000);
    expect(story.checks).toEqual([0]);
  });

  test('an error value is a failed check, and the event has the error', async () => {
    const [backend] = makeBackends(1);
    const heard: unknown[] = [];
    const error = new Error('connect ECONNREFUSED');
    const rules = { ...healthCheckDefaults, path: '/', maxHoldMs: 1, unhealthyAfter: 1 };
    new HealthCheck(
      backend as never,
      rules,
      async () => error,
      (...change) => heard.push(change),
    ).start(0);
    await jest.advanceTimersByTimeAsync(0);
    expect(heard).toEqual([[backend, 'unknown', 'unhealthy', error]]);
  });

  test('the backend has the time of its last check', async () => {
    const story = new HealthStory('p');
    expect(story.backend.status()).toMatchObject({ health: 'unknown', available: true, lastCheckAt: undefined });
    await story.later(12_345);
    expect(story.backend.status()).toMatchObject({ health: 'healthy', lastCheckAt: 1_700_000_010_000 });
  });

  test('close() aborts the running check without a result, and starts no other', async () => {
    const story = new HealthStory('h', { unhealthyAfter: 1 });
    await story.later(500);
    expect(story.inFlight).toBe(1);
    story.check.close();
    await story.later(0);
    expect(story.inFlight).toBe(0);
    expect(jest.getTimerCount()).toBe(0);
    await story.later(60_000);
    expect([story.checks, story.changes]).toEqual([[0], []]);
    expect(story.backend.health.lastCheckAt).toBeUndefined();
  });

  test('close() resets the health, so that a backend that is added again starts as unknown', async () => {
    const story = new HealthStory('f', { unhealthyAfter: 1 });
    await story.later(0);
    expect(story.backend.health.verdict).toBe('unhealthy');
    story.check.close();
    expect(story.backend.health.verdict).toBe('unknown');
  });

  test('a listener may close it from within', async () => {
    const story = new HealthStory('p');
    story.changes.push = (...items) => {
      story.check.close();
      return items.length;
    };
    await story.later(0);
    expect(story.checks).toEqual([0]);
    expect(jest.getTimerCount()).toBe(0);
  });
});

describe('a backend whose process was away', () => {
  test.each([
    ['prrrp', 'refused connections', ['32000 unhealthy > healthy']],
    ['prffp', 'failures after the refusal', []],
  ])('%s: after %s, one pass is enough only if the connection was refused last', async (script, _, back) => {
    const story = new HealthStory(script);
    await story.begun(5);
    await story.later(1_000);
    expect(story.changes.slice(2)).toEqual(back);
  });

  test('has its circuit closed by the check that passes', async () => {
    const story = new HealthStory('prp');
    await story.begun(1);
    const { backend } = story;
    await story.request('failure');
    backend.isAway = true;
    await story.begun(3);
    await story.later(0);
    expect(backend.circuit.state).toBe('closed');
  });

  test('stays out when its circuit was opened by responses', async () => {
    const story = new HealthStory('pp');
    await story.begun(1);
    await story.request('failure');
    await story.begun(2);
    await story.later(0);
    expect(story.backend.circuit.state).toBe('open');
  });
});

describe('isHealthy', () => {
  const verdictOn = async (answer: ProbeAnswer, isHealthy?: HealthCheckRules['isHealthy']) => {
    const [backend] = makeBackends(1);
    let error: Error | undefined;
    const rules = { ...healthCheckDefaults, path: '/', maxHoldMs: 1, unhealthyAfter: 1 };
    new HealthCheck(
      backend as never,
      isHealthy === undefined ? rules : { ...rules, isHealthy },
      async () => answer,
      (_backend, _from, _to, why) => {
        error = why;
      },
    ).start(0);
    await jest.advanceTimersByTimeAsync(0);
    return [backend?.health.verdict, error?.message];
  };

  test.each([
    [199, 'unhealthy'],
    [200, 'healthy'],
    [204, 'healthy'],
    [299, 'healthy'],
    [301, 'unhealthy'],
    [404, 'unhealthy'],
    [503, 'unhealthy'],
  ])('by default the status decides: %d %s', async (status, verdict) => {
    expect((await verdictOn({ status, content: '' }))[0]).toBe(verdict);
  });

  test('a predicate decides on status and content instead', async () => {
    const isUp = (status: number, content: string) => status === 500 && content === 'up';
    expect(await verdictOn({ status: 500, content: 'up' }, isUp)).toEqual(['healthy', undefined]);
    expect(await verdictOn({ status: 200, content: 'up' }, isUp)).toEqual([
      'unhealthy',
      'isHealthy did not accept the response with status 200',
    ]);
  });

  test('a predicate that throws fails the check, and its error is reported', async () => {
    const isUp = (_status: number, content: string) => JSON.parse(content).up === true;
    expect(await verdictOn({ status: 502, content: '<html>' }, isUp)).toEqual([
      'unhealthy',
      expect.stringMatching(/^isHealthy threw for a response with status 502: SyntaxError/),
    ]);
  });

  test('a predicate that returns a promise fails the check', async () => {
    const [verdict] = await verdictOn({ status: 200, content: '' }, (async () => false) as never);
    expect(verdict).toBe('unhealthy');
  });
});

describe('trials of an open circuit', () => {
  const rules = { intervalMs: 10_000, unhealthyIntervalMs: 2_000 };

  test('wait for a passing check', async () => {
    const story = new HealthStory('pffffffffp', { ...rules, unhealthyAfter: 99 });
    await story.later(1);
    await story.request('failure');
    await story.later(14_000);
    expect(story.checks).toEqual([0, ...[0, 2, 4, 6, 8, 10, 12, 14].map((second) => second * 1_000 + 1)]);
    expect(story.backend.circuit.isAvailable()).toBe(true);
    expect(story.backend.status()).toMatchObject({ circuit: 'open', available: false, retryAfterMs: 1_000 });
    await story.later(2_000);
    expect(story.backend.status()).toMatchObject({ circuit: 'open', available: true, retryAfterMs: 0 });
    await story.request('success');
    expect(story.backend.circuit.state).toBe('closed');
  });

  test('wait for the open time only when checks pass', async () => {
    const story = new HealthStory('p', rules);
    await story.later(9_000);
    await story.request('failure');
    await story.later(9_999);
    expect(story.backend.status()).toMatchObject({ available: false, retryAfterMs: 1 });
    await story.later(1);
    expect(story.backend.isAvailable()).toBe(true);
    expect(story.checks).toEqual(s(0, 9, 11, 13, 15, 17, 19));
  });

  test('do not count a check that began before the circuit opened', async () => {
    let pass = (_answer: ProbeAnswer): void => {};
    const [backend] = makeBackends(1);
    const check = new HealthCheck(
      backend as never,
      { ...healthCheckDefaults, ...rules, jitter: 0, path: '/', maxHoldMs: 300_000, timeoutMs: 60_000 },
      () =>
        new Promise((resolve) => {
          pass = resolve;
        }),
      () => {},
    );
    check.start(0);
    await jest.advanceTimersByTimeAsync(0);
    backend?.acquire()?.release('failure');
    await jest.advanceTimersByTimeAsync(10_000);
    pass({ status: 200, content: '' });
    await jest.advanceTimersByTimeAsync(0);
    expect(backend?.health.verdict).toBe('healthy');
    expect(backend?.isAvailable()).toBe(false);
    await jest.advanceTimersByTimeAsync(0);
    pass({ status: 200, content: '' });
    await jest.advanceTimersByTimeAsync(0);
    expect(backend?.isAvailable()).toBe(true);
  });

  test('are held back again when a later check fails', async () => {
    const story = new HealthStory('ppf', rules);
    await story.request('failure');
    await story.later(2_000);
    expect(story.backend.health.holdsTrials).toBe(false);
    await story.later(2_000);
    expect(story.backend.health.holdsTrials).toBe(true);
    await story.later(60_000);
    expect(story.backend.isAvailable()).toBe(false);
  });

  test('wait again after each failed trial', async () => {
    const story = new HealthStory('p', rules);
    await story.request('failure');
    await story.later(10_000);
    await story.request('failure');
    expect(story.backend.health.holdsTrials).toBe(true);
    await story.later(10_000);
    await story.request('success');
    expect(story.backend.circuit.state).toBe('closed');
  });

  test('are admitted eventually although every check fails', async () => {
    const story = new HealthStory('f', { ...rules, maxHoldMs: 60_000 });
    await story.request('failure');
    await story.later(59_999);
    expect(story.backend.isAvailable()).toBe(false);
    await story.later(2_001);
    expect(story.backend.isAvailable()).toBe(true);
    await story.request('failure');
    await story.later(59_999);
    expect(story.backend.isAvailable()).toBe(false);
  });

  test('are not delayed by a clock that is set back', async () => {
    const story = new HealthStory('f', { ...rules, maxHoldMs: 60_000 });
    await story.request('failure');
    jest.setSystemTime(1_700_000_000_000 - 3_600_000);
    await story.later(64_000);
    expect(story.backend.health.holdsTrials).toBe(false);
  });

  test('an isolated circuit that is released holds nothing back', async () => {
    const story = new HealthStory('f', rules);
    await story.request('failure');
    story.backend.circuit.isolate().dispose();
    expect(story.backend.isAvailable()).toBe(true);
  });

  test('are not delayed after close()', async () => {
    const story = new HealthStory('f', rules);
    await story.request('failure');
    await story.later(10_000);
    story.check.close();
    expect(story.backend.isAvailable()).toBe(true);
  });
});
