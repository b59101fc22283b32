import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

/** A CPU list as taskset understands it; `undefined` leaves the process where the system puts it. */
export type Cpus = string | undefined;

/** Which CPUs the gateway and everything around it run on. */
export interface Placement {
  readonly gateway: Cpus;
  readonly load: Cpus;
  /** CPUs that the load side may use. */
  readonly loadCpuCount: number;
  readonly description: string;
}

/** The gateway gets a core of its own: the last one, because interrupts tend to go to the first. */
export function planPlacement(): Placement {
  const cpus = allowedCpus();
  if (cpus.length < 2) return unpinned(cpus.length, 'not pinned: one core only, load and gateway share it');
  if (spawnSync('taskset', ['--version']).status !== 0) {
    return unpinned(cpus.length, 'not pinned: taskset is not on this machine');
  }
  const gateway = cpus.at(-1) as number;
  const load = cpus.slice(0, -1);
  return {
    gateway: String(gateway),
    load: load.join(','),
    loadCpuCount: load.length,
    description: `gateway pinned to core ${gateway}, load and backends to core ${load.join(', ')}`,
  };
}

/** Moves this process, with all of its threads. */
export function moveTo(cpus: Cpus): void {
  if (cpus === undefined) return;
  const { status, stderr } = spawnSync('taskset', ['--all-tasks', '--cpu-list', '--pid', cpus, String(process.pid)]);
  if (status !== 0) throw new Error(`taskset did not move the bench: ${stderr}`);
}

function unpinned(count: number, description: string): Placement {
  return { gateway: undefined, load: undefined, loadCpuCount: Math.max(1, count - 1), description };
}

function allowedCpus(): number[] {
  try {
    // Containers often allow some CPUs only, and not the first ones.
    const list = /^Cpus_allowed_list:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
    if (list !== undefined) return list.split(',').flatMap(expandRange);
  } catch {
    // Not Linux.
  }
  return Array.from({ length: availableParallelism() }, (_, index) => index);
}

function expandRange(range: string): number[] {
  const [first, last] = range.split('-').map(Number) as [number, number?];
  return Array.from({ length: (last ?? first) - first + 1 }, (_, index) => first + index);
}
