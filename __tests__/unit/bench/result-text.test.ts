import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { resultText } from '../../../bench/report/result-text.ts';

const RESULTS = new URL('../../../bench/results/', import.meta.url);

describe('the text of a benchmark result', () => {
  const sample = (value: number, p99: number) => ({ cpu: value, latency: { p99 }, firstError: undefined });

  test('has the length, medians and quartiles of a series in place of its rounds', () => {
    const rows = [
      { name: 'suite', samples: [sample(4, 10), sample(1, 20), sample(3, 30), sample(2, 40), sample(5, 50)] },
    ];
    expect(JSON.parse(resultText({ rows }))).toEqual({
      rows: [
        {
          name: 'suite',
          samples: {
            count: 5,
            cpu: { median: 3, lower: 2, upper: 4 },
            latency: { p99: { median: 30, lower: 20, upper: 40 } },
          },
        },
      ],
    });
  });

  test('has a series of one round as it is, and an empty one as its length', () => {
    const drill = { requests: 7, errors: { reset: { count: 2 } } };
    expect(JSON.parse(resultText({ drills: [drill] }))).toEqual({ drills: { count: 1, ...drill } });
    expect(JSON.parse(resultText({ drills: [] }))).toEqual({ drills: { count: 0 } });
  });

  test('has five digits of a number, all of an integer, and one line for each target', () => {
    const targets = ['a', 'b'].map((name) => ({ name, title: 'x'.repeat(200), value: 1234.5678, bytes: 123_456_789 }));
    const text = resultText({ targets });
    expect(JSON.parse(text).targets[0]).toMatchObject({ value: 1234.6, bytes: 123_456_789 });
    expect(text.trimEnd().split('\n')).toHaveLength(6);
  });
});

test.each(readdirSync(RESULTS).filter((file) => file.endsWith('.json') && !file.includes('.partial')))(
  'the result file %s has at most 150 lines, with machine and versions',
  (file) => {
    const text = readFileSync(new URL(file, RESULTS), 'utf8');
    expect(text.split('\n').length).toBeLessThanOrEqual(150);
    const { machine, targets, rows } = JSON.parse(text);
    expect([typeof machine.cpu, typeof machine.packages.express]).toEqual(['string', 'string']);
    expect((targets ?? rows).length).toBeGreaterThan(1);
  },
);
