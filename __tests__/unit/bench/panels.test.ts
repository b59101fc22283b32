import { expect, test } from '@jest/globals';
import { panelOf, perSecond } from '../../../bench/report/panels.ts';
import { summarize } from '../../../bench/report/summary.ts';

const sample = (requestsPerSecond: number, errors = 0) => ({
  requests: requestsPerSecond,
  errors,
  firstError: undefined,
  seconds: 1,
  requestsPerSecond,
  cpuMicrosPerRequest: 50,
  gatewayBusy: 1,
  loadBusy: 0.5,
  rssBytes: 1e8,
  served: undefined,
});

const run = (name: string, ...samples: ReturnType<typeof sample>[]) => ({
  target: { name, title: name, start: () => Promise.reject(new Error('not started here')) },
  samples,
  failure: undefined,
});

test('bars have the labels of their targets; wrong responses cost a target its bar', () => {
  const runs = [run('suite', sample(2_000)), run('peer', sample(1_000)), run('wrong', sample(9_000, 1))];
  const summaries = summarize(runs, { cpu: 'peer', throughput: 'suite' });
  const { bars, show } = panelOf('title', summaries, (summary) => summary.requestsPerSecond, {
    show: perSecond,
    labels: { suite: 'Expressway' },
  });
  expect(bars.map(({ label, isOurs, spread }) => [label, isOurs, show(spread.median)])).toEqual([
    ['Expressway', true, '2,000'],
    ['peer', false, '1,000'],
  ]);
});
