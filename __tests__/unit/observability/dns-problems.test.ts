import { expect, test } from '@jest/globals';
import { GatewayEvents } from 'expressway';
import { PROCESS_PROBLEMS } from '../../../lib/observability/problems/process-problems.ts';
import type { TrafficSources } from '../../../lib/observability/problems/traffic-sources.ts';

const NAME = 'dns://gone.test:80';

function watch() {
  const events = new GatewayEvents();
  const kind = PROCESS_PROBLEMS.find(({ problem }) => problem === 'dns_failing');
  const detector = kind?.detector({ events } as TrafficSources);
  return {
    subjects: () => [...(detector?.look() ?? [])].map(({ subject }) => subject),
    fails: (service: string, again = false) =>
      events.emit('discoveryFailed', { service, name: NAME, error: new Error('ESERVFAIL'), backends: 0, again }),
    ends: (service: string, removed: boolean) => events.emit('discoveryRecovered', { service, name: NAME, removed }),
  };
}

test.each([false, true])('a name is a problem until its lookup works or it is removed (removed: %s)', (removed) => {
  const { subjects, fails, ends } = watch();
  fails('shop');
  fails('shop', true);
  expect(subjects()).toEqual([NAME]);
  ends('shop', removed);
  expect(subjects()).toEqual([]);
});

test('a service that another one of the same name replaces does not hide that the lookup of the new one fails', () => {
  const { subjects, fails, ends } = watch();
  fails('shop');
  fails('shop');
  ends('shop', true);
  expect(subjects()).toEqual([NAME]);
  ends('shop', false);
  expect(subjects()).toEqual([]);
});
