import { expect, test } from '@jest/globals';
import { firstCpuRatio, type StartRow, type StartSample, startPanels } from '../../../bench/report/start-report.ts';

const sample = (firstCpuMicros: number): StartSample => ({
  readyMs: 300,
  readyCpuMs: 250,
  restBytes: 80e6,
  firstCpuMicros,
});

const row = (name: string, ...firstCpuMicros: number[]): StartRow => ({
  name,
  title: name,
  samples: firstCpuMicros.map(sample),
  failure: undefined,
});

const floor = row('floor', 100, 200, 400);

test('the CPU of first requests is compared round by round, also when a target failed before the last round', () => {
  expect(firstCpuRatio(row('suite', 150, 300, 800), floor)?.median).toBe(1.5);
  expect(firstCpuRatio(row('package', 200), floor)).toEqual({ median: 2, lower: 2, upper: 2 });
});

test('the chart has no bar for a target without a start', () => {
  const panels = startPanels([floor, row('suite', 150, 300, 800), row('package')]);
  expect(panels.map(({ bars }) => bars.map(({ label }) => label))).toEqual(panels.map(() => ['floor', 'suite']));
  expect(panels[1]?.bars[0]?.spread.median).toBe(80);
});
