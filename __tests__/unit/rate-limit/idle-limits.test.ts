import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from '@jest/globals';
import { ClientTable } from '../../../lib/rate-limit/memory/client-table.ts';

test('a table without clients takes less than 10 kB, so that thousands of routes can have limits', () => {
  setFlagsFromString('--expose-gc');
  const collect: () => void = runInNewContext('gc');
  const heap = () => {
    collect();
    return process.memoryUsage().heapUsed;
  };
  const before = heap();
  const tables = Array.from({ length: 500 }, () => new ClientTable(60_000, 100_000, () => undefined));
  const each = (heap() - before) / tables.length;
  expect(each).toBeLessThan(10_000);
  expect(tables[0]?.size).toBe(0);
});
