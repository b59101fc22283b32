import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { LIMITER_PROBLEMS } from '../../../lib/observability/problems/limiter-problems.ts';
import type { TrafficSources } from '../../../lib/observability/problems/traffic-sources.ts';
import type { StatusLimiter } from '../../../lib/observability/status/status-sources.ts';

beforeEach(() => {
  jest.useFakeTimers({ now: 1_000_000 });
});

afterEach(() => {
  jest.useRealTimers();
});

/** What is found of one limiter. */
function watch(limiter: Partial<StatusLimiter>) {
  const sources = { limiters: [{ name: 'ip', mode: 'local', ...limiter }] } as unknown as TrafficSources;
  const watched = LIMITER_PROBLEMS.map((kind) => ({ kind, detector: kind.detector(sources) }));
  return () =>
    watched.flatMap(({ kind, detector }) =>
      [...detector.look()].map((finding) => ({ problem: kind.problem, ...finding })),
    );
}

const coded = (message: string, code: string): Error => Object.assign(new Error(message), { code });

test.each([
  [new Error('WRONGPASS invalid username-password pair or user is disabled.'), 'redis_authentication'],
  [new Error('NOAUTH Authentication required.'), 'redis_authentication'],
  [
    new Error('ERR AUTH <password> called without any password configured for the default user.'),
    'redis_authentication',
  ],
  [new Error('ERR invalid password'), 'redis_authentication'],
  [new Error("NOPERM User limited has no permissions to run the 'evalsha' command"), 'redis_permission'],
  [coded('write EPROTO 00:error:0A00010B:SSL routines:ssl3_get_record:wrong version number', 'EPROTO'), 'redis_tls'],
  [coded('self-signed certificate', 'DEPTH_ZERO_SELF_SIGNED_CERT'), 'redis_tls'],
  [coded('unable to verify the first certificate', 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'), 'redis_tls'],
  [new Error('LOADING Redis is loading the dataset in memory'), 'redis_failing'],
  [new Error("READONLY You can't write against a read only replica."), 'redis_failing'],
  [new Error('CLUSTERDOWN The cluster is down'), 'redis_failing'],
  [new Error('ERR max number of clients reached'), 'redis_failing'],
  [new Error('ERR DB index is out of range'), 'redis_failing'],
  [new Error('DENIED Redis is running in protected mode'), 'redis_failing'],
  [coded('connect ECONNREFUSED 127.0.0.1:6379', 'ECONNREFUSED'), 'redis_unreachable'],
  [new Error('Socket closed unexpectedly'), 'redis_unreachable'],
  [new Error('Redis did not reply within 50 ms'), 'redis_unreachable'],
  [new Error('the primary process did not reply in time'), 'counter_late'],
  [new Error('All attempts failed', { cause: new Error('NOAUTH Authentication required.') }), 'redis_authentication'],
  [new AggregateError([coded('connect ECONNREFUSED ::1:6379', 'ECONNREFUSED')], ''), 'redis_unreachable'],
])('%s is %s', (storeError, problem) => {
  const found = watch({ storeError })();
  expect(found).toMatchObject([{ problem, subject: 'ip' }]);
  expect(found[0]?.text).toContain('each gateway counts for itself');
});

test('a limiter that rejects all clients is critical, and one that admits all clients reports it', () => {
  const storeError = new Error('NOAUTH Authentication required.');
  expect(watch({ storeError, mode: 'closed' })()).toMatchObject([
    { severity: 'critical', title: expect.stringContaining('all requests are rejected') },
  ]);
  expect(watch({ storeError, mode: 'open' })()).toMatchObject([
    { title: expect.stringContaining('no client is limited') },
  ]);
});

test('does not report a limiter with its store, and waits three seconds before it reports one without a known reason', () => {
  for (const mode of ['redis', 'memory'] as const)
    expect(watch({ mode, storeError: new Error('NOAUTH') })()).toEqual([]);
  const look = watch({});
  expect(look()).toEqual([]);
  jest.advanceTimersByTime(3_000);
  expect(look()).toMatchObject([{ problem: 'redis_unreachable' }]);
});
