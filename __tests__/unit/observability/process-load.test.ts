import { monitorEventLoopDelay } from 'node:perf_hooks';
import { expect, test } from '@jest/globals';
import { ProcessLoad } from '../../../lib/observability/status/process-load.ts';
import { flushIo } from '../../../lib/testing/index.ts';
import { pause } from '../../support/pause.ts';
import { eventually } from '../../support/servers.ts';

test.each<[string, () => void]>([
  ['before the slot ends', block],
  ['by a timer that is due before the end of the slot', () => setTimeout(block, 1)],
])('a turn of the event loop in which a slot ends is not lost: it is blocked %s', async (_when, blockLater) => {
  const load = new ProcessLoad();
  // Ticks as that of the load does.
  const own = monitorEventLoopDelay({ resolution: 20 });
  own.enable();
  const longest: number[] = [];
  for (let round = 0; round < 5; round += 1) {
    await pause('until Node measures from one tick of its own timer to the next', 60 + round);
    load.turn();
    await flushIo();
    own.reset();
    await eventually('ticks of this slot are measured', () => own.count >= 2);
    await new Promise<void>((resolve) => {
      setTimeout(() => resolve(void load.turn()), 2);
      blockLater();
    });
    await pause('until the tick after the block is measured', 60);
    longest.push(load.loop().loopMaxMs);
  }
  load.close();
  own.disable();
  expect(longest.filter((ms) => ms < 100)).toEqual([]);
});

function block(): void {
  for (const end = Date.now() + 150; Date.now() < end; );
}
