import { expect, test } from '@jest/globals';
import { ClientTable } from '../../../lib/rate-limit/memory/client-table.ts';
import { settledHeap } from '../../support/settled-heap.ts';

test('a table without clients takes less than 10 kB, so that thousands of routes can have limits', () => {
  const before = settledHeap();
  const tables = Array.from({ length: 500 }, () => new ClientTable(60_000, 100_000, () => undefined));
  const each = (settledHeap() - before) / tables.length;
  expect(each).toBeLessThan(10_000);
  expect(tables[0]?.size).toBe(0);
});
