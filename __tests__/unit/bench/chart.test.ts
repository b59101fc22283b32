import { expect, test } from '@jest/globals';
import { type Panel, renderChart } from '../../../bench/report/chart.ts';
import type { LinePanel } from '../../../bench/report/line-panel.ts';
import { tickStep } from '../../../bench/report/svg.ts';

const show = (value: number): string => value.toFixed(1);

function chart(panel: Partial<Panel>): string {
  const bars = [
    { label: 'floor', spread: { median: 1, lower: 0.9, upper: 1.1 } },
    { label: 'suite', spread: { median: 2, lower: 1.5, upper: 4 }, isOurs: true },
  ];
  return renderChart({ title: 'a < b & c', notes: ['one note'], panels: [{ title: 'panel', show, bars, ...panel }] });
}

const widthsOf = (svg: string): number[] =>
  [...svg.matchAll(/<rect class="(?:bar|ours)"[^>]* width="([\d.]+)"/g)].map(([, width]) => Number(width));

test('bars are as long as their medians', () => {
  const [first = 0, second = 0] = widthsOf(chart({}));
  expect(first).toBeGreaterThan(0);
  expect(second / first).toBeCloseTo(2, 2);
});

test('a whisker goes from the least to the most, on the scale of the bars', () => {
  const svg = chart({});
  const left = Number(/<rect class="ours" x="([\d.]+)"/.exec(svg)?.[1]);
  const whiskers = [...svg.matchAll(/class="whisker" x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="\2"/g)];
  expect(whiskers).toHaveLength(2);
  const [from, to] = [Number(whiskers[1]?.[1]) - left, Number(whiskers[1]?.[3]) - left];
  expect(from / (widthsOf(svg)[1] as number)).toBeCloseTo(1.5 / 2, 2);
  expect(to / (widthsOf(svg)[1] as number)).toBeCloseTo(4 / 2, 2);
});

test('no line is drawn beyond the picture', () => {
  const svg = chart({ mark: 9 });
  const width = Number(/viewBox="0 0 (\d+)/.exec(svg)?.[1]);
  const ends = [...svg.matchAll(/ x[12]?="([\d.]+)"/g)].map(([, x]) => Number(x));
  expect(Math.max(...ends)).toBeLessThan(width);
});

test('values are written beside their bars, and text is escaped', () => {
  const svg = chart({});
  expect(svg).toContain('>2.0 (1.5–4.0)<');
  expect(svg).toContain('<title>a &lt; b &amp; c</title>');
  expect(svg).not.toContain('a < b');
});

test('readers with a dark scheme get dark colours', () => {
  expect(chart({})).toContain('@media (prefers-color-scheme: dark)');
});

test('bars of a value below zero have no length, not a negative one', () => {
  const spread = { median: -1, lower: -2, upper: 3 };
  expect(widthsOf(chart({ bars: [{ label: 'odd', spread }] }))).toEqual([0]);
});

test.each([
  [0, 1],
  [1, 0.2],
  [1.9, 0.5],
  [7, 2],
  [49, 10],
  [200, 50],
  [1_000, 200],
])('ticks up to %d are %d apart', (most, step) => {
  expect(tickStep(most)).toBeCloseTo(step, 10);
});

test('lines share the axes, and each is named where it ends', () => {
  const panel: LinePanel = {
    title: 'served',
    showX: show,
    showY: show,
    most: 10,
    series: [
      {
        label: 'one',
        points: [
          [0.5, 5],
          [3, 20],
        ],
        isOurs: true,
      },
      {
        label: 'two',
        points: [
          [0.5, 0],
          [3, 10],
        ],
      },
    ],
  };
  const svg = renderChart({ title: 'a', notes: [], panels: [panel] });
  const paths = [...svg.matchAll(/<path class="curve[^>]* d="M([\d.]+) ([\d.]+) L([\d.]+) ([\d.]+)"/g)].map((match) =>
    match.slice(1).map(Number),
  );
  const [[left = 0, middle = 0, right, top] = [], [left2, bottom = 0, right2, top2] = []] = paths;
  expect([left2, right2, top2]).toEqual([left, right, top]);
  expect(middle).toBeCloseTo((bottom + (top ?? 0)) / 2, 0);
  const names = [...svg.matchAll(/<text x="[\d.]+" y="([\d.]+)">(?:one|two)<\/text>/g)].map(([, y]) => Number(y));
  expect(Math.abs((names[0] as number) - (names[1] as number))).toBeGreaterThanOrEqual(15);
});
