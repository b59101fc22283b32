import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import type { Backend } from '../../../lib/backends/backend.ts';
import type { ProbeAnswer } from '../../../lib/backends/health/health-check.ts';
import { healthCheckDefaults } from '../../../lib/backends/health/health-check-options.ts';
import { HealthChecker } from '../../../lib/backends/health/health-checker.ts';
import { makeBackends } from './health-story.ts';

beforeEach(() => {
  jest.useFakeTimers({ now: 0 });
});
afterEach(() => {
  jest.useRealTimers();
});

const RULES = { ...healthCheckDefaults, jitter: 0, path: '/healthz', maxHoldMs: 300_000 };

/** Answers each check as `answer` says, and remembers which were made when. */
function recorded(answer: (backend: Backend, signal: AbortSignal) => Promise<ProbeAnswer | Error>) {
  const checks: string[] = [];
  const verdicts: string[] = [];
  const name = (backend: Backend) => backend.url.hostname.replace('.test', '');
  const checker = new HealthChecker(
    RULES,
    (backend, { path, timeoutMs, signal }) => {
      checks.push(`${Date.now()} ${name(backend)} ${path} ${timeoutMs}`);
      return answer(backend, signal);
    },
    (backend, _from, to) => verdicts.push(`${Date.now()} ${name(backend)} ${to}`),
  );
  return { checker, checks, verdicts };
}

const pass = async (): Promise<ProbeAnswer> => ({ status: 200, content: '' });

test('each backend has a schedule of its own, and the first checks are spread by a millisecond each', async () => {
  const { checker, checks } = recorded(pass);
  checker.membershipChanged({ added: makeBackends(3), removed: [] });
  await jest.advanceTimersByTimeAsync(10_001);
  expect(checks).toEqual([
    '0 backend-1 /healthz 2000',
    '1 backend-2 /healthz 2000',
    '2 backend-3 /healthz 2000',
    '10000 backend-1 /healthz 2000',
    '10001 backend-2 /healthz 2000',
  ]);
});

test('a hanging backend does not delay checks of others', async () => {
  const { checker, verdicts } = recorded(({ url }, signal) =>
    url.hostname === 'backend-1.test'
      ? new Promise((resolve) => signal.addEventListener('abort', () => resolve(new Error('late'))))
      : pass(),
  );
  checker.membershipChanged({ added: makeBackends(2), removed: [] });
  // Each of the three timeouts waits for two turns of the event loop, which take a millisecond of fake time each.
  await jest.advanceTimersByTimeAsync(26_006);
  expect(verdicts).toEqual(['1 backend-2 healthy', '26006 backend-1 unhealthy']);
});

test('checks added backends, stops for removed ones, and keeps schedule and health of the others', async () => {
  const aborted: string[] = [];
  const { checker, checks } = recorded(({ url }, signal) => {
    if (url.hostname === 'backend-1.test') return pass();
    signal.addEventListener('abort', () => aborted.push(url.hostname));
    return new Promise(() => {});
  });
  const [one, two, three] = makeBackends(3) as [Backend, Backend, Backend];
  checker.membershipChanged({ added: [one, two], removed: [] });
  await jest.advanceTimersByTimeAsync(1_000);
  checker.membershipChanged({ added: [three], removed: [two] });
  expect(aborted).toEqual(['backend-2.test']);
  await jest.advanceTimersByTimeAsync(10_000);
  expect(checks.map((check) => check.split(' /')[0])).toEqual([
    '0 backend-1',
    '1 backend-2',
    '1000 backend-3',
    '10000 backend-1',
  ]);
  expect(one.health.verdict).toBe('healthy');
  checker.membershipChanged({ added: [], removed: [one] });
  await jest.advanceTimersByTimeAsync(20_000);
  expect(checks.filter((check) => check.includes('backend-1'))).toHaveLength(2);
});

test('close() ends all checks and leaves no timer', async () => {
  let aborted = 0;
  const { checker, checks } = recorded((_backend, signal) => {
    signal.addEventListener('abort', () => {
      aborted += 1;
    });
    return new Promise(() => {});
  });
  checker.membershipChanged({ added: makeBackends(3), removed: [] });
  await jest.advanceTimersByTimeAsync(1);
  checker.close();
  expect(aborted).toBe(2);
  expect(jest.getTimerCount()).toBe(0);
  await jest.advanceTimersByTimeAsync(60_000);
  expect(checks).toHaveLength(2);
});
