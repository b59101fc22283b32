import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { afterAll, expect, test } from '@jest/globals';
import { FolderStore } from '../../lib/gateway/acme/acme-store.ts';

const folder = mkdtempSync(join(tmpdir(), 'expressway-acme-store-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('a lock that another process releases at the same moment is taken or not, and never an error', async () => {
  const [one, other] = [new FolderStore(folder), new FolderStore(folder)];
  const release = async (turns: number) => {
    for (let turn = 0; turn < turns; turn += 1) await setImmediate();
    await one.remove('lock');
  };
  for (let round = 0; round < 1_000; round += 1) {
    await one.lock('lock', 60_000);
    const [taken] = await Promise.all([other.lock('lock', 60_000), release(round % 10)]);
    expect(typeof taken).toBe('boolean');
    await other.remove('lock');
  }
});
