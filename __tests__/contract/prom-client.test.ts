import { expect, test } from '@jest/globals';
import { type OpenMetricsContentType, Registry } from 'prom-client';

const metric = (name: string, type: string, values: object[]) => ({
  name,
  type,
  get: async () => ({ name, help: 'Help.', type, aggregator: 'sum', values }),
});

test('a registry takes any object with name, type and get(), and gives it on as JSON for clusters', async () => {
  const register = new Registry();
  const values = [{ labels: { a: 'x"\n\\' }, value: 2 }];
  register.registerMetric(metric('one_total', 'counter', values) as never);
  expect(await register.metrics()).toBe(
    '# HELP one_total Help.\n# TYPE one_total counter\none_total{a="x\\"\\n\\\\"} 2\n',
  );
  expect(await register.getMetricsAsJSON()).toEqual([
    { name: 'one_total', help: 'Help.', type: 'counter', aggregator: 'sum', values },
  ]);
  expect(() => register.registerMetric(metric('one_total', 'counter', []) as never)).toThrow(/already been registered/);
});

test('OpenMetrics renames the counters that it shows: they must not be shared with another registry', async () => {
  const register = new Registry<OpenMetricsContentType>();
  register.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
  const counter = metric('one_total', 'counter', []);
  register.registerMetric(counter as never);
  expect(await register.metrics()).toMatch(/# EOF\n$/);
  expect(counter.name).toBe('one');
});
