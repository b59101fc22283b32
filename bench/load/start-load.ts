import type { Placement } from '../harness/placement.ts';
import type { Processes } from '../harness/processes.ts';
import { AutocannonLoad } from './autocannon-load.ts';
import type { LoadGenerator } from './load-generator.ts';
import { RawLoad } from './raw-load.ts';
import { WrkLoad } from './wrk-load.ts';

export const LOADS = ['raw', 'autocannon', 'wrk'] as const;
export type LoadName = (typeof LOADS)[number];

export async function startLoad(name: LoadName, processes: Processes, placement: Placement): Promise<LoadGenerator> {
  switch (name) {
    case 'raw':
      return RawLoad.start(processes, placement);
    case 'autocannon':
      return AutocannonLoad.start(processes, placement);
    case 'wrk':
      return new WrkLoad(processes, placement);
  }
}
