import { expect, test } from '@jest/globals';
import { type Case, CaseTarget } from '../../../bench/harness/case-target.ts';
import type { RunningTarget, Target, TargetContext } from '../../../bench/harness/target.ts';

test('the cases of a target share a process, and get a new one after all of them have stopped', async () => {
  let started = 0;
  const stopped: number[] = [];
  const target: Target = {
    name: 'suite',
    title: 'suite',
    start: async () => {
      started += 1;
      const port = started;
      return { port, usage: async () => ({ cpuMicros: 0, rssBytes: 0 }), stop: async () => void stopped.push(port) };
    },
  };
  const cases = ['get', 'post'].map((name) => ({ name, connections: 1 }) as Case);
  const targets = CaseTarget.product([target], cases);
  const startAll = (): Promise<RunningTarget[]> => Promise.all(targets.map((one) => one.start({} as TargetContext)));
  for (const port of [1, 2]) {
    const running = await startAll();
    expect(running.map((one) => one.port)).toEqual([port, port]);
    await running[0]?.stop();
    expect(stopped).not.toContain(port);
    await running[1]?.stop();
    expect(stopped).toContain(port);
  }
});
