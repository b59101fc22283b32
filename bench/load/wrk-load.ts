import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { NONCE_FIELD, nonceOf, PATH } from '../harness/answer.ts';
import type { Placement } from '../harness/placement.ts';
import type { Processes } from '../harness/processes.ts';
import type { LoadCount, LoadGenerator, LoadPlan } from './load-generator.ts';
import { separateRuns } from './separate-runs.ts';

/** wrk, when the machine has it: written in C, so it leaves most of its core to the backends. */
export class WrkLoad implements LoadGenerator {
  readonly name = 'wrk';
  readonly checks = 'status only';
  readonly #processes: Processes;
  readonly #placement: Placement;

  constructor(processes: Processes, placement: Placement) {
    // Asked without arguments, wrk prints its usage: it is there.
    if (spawnSync('wrk').error !== undefined) throw new Error('wrk is not on this machine; use --load=raw');
    this.#processes = processes;
    this.#placement = placement;
  }

  measure(plan: LoadPlan, begin: () => Promise<void>, end: () => Promise<void>): Promise<LoadCount> {
    return separateRuns(plan, (seconds) => this.#run(plan, seconds), begin, end);
  }

  async cpuMicros(): Promise<undefined> {
    return undefined;
  }

  async stop(): Promise<void> {}

  async #run({ port, connections }: LoadPlan, seconds: number): Promise<LoadCount> {
    const duration = `-d${Math.max(1, Math.round(seconds))}s`;
    const field = `${NONCE_FIELD}: ${nonceOf(1)}`;
    const url = `http://127.0.0.1:${port}${PATH}`;
    const command = ['wrk', '-t1', `-c${connections}`, duration, '-H', field, url];
    const child = this.#processes.spawn(command, this.#placement.load);
    const limit = setTimeout(() => child.kill('SIGKILL'), seconds * 1000 + 20_000);
    const [output] = await Promise.all([text(child.stdout!), once(child, 'close')]);
    clearTimeout(limit);
    return parse(output);
  }
}

const UNIT_SECONDS: Readonly<Record<string, number>> = { us: 1e-6, ms: 1e-3, s: 1, m: 60 };

function parse(output: string): LoadCount {
  const [, requests, duration, unit] = /(\d+) requests in ([\d.]+)(us|ms|s|m)\b/.exec(output) ?? [];
  if (requests === undefined) throw new Error(`wrk printed no result: ${output.slice(0, 200)}`);
  const socketErrors = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(output);
  const statuses = /Non-2xx or 3xx responses: (\d+)/.exec(output);
  const errors = [...(socketErrors ?? []).slice(1), ...(statuses ?? []).slice(1)].reduce(
    (sum, n) => sum + Number(n),
    0,
  );
  return {
    requests: Number(requests),
    errors,
    firstError: errors === 0 ? undefined : (socketErrors?.[0] ?? statuses?.[0]),
    seconds: Number(duration) * (UNIT_SECONDS[unit ?? 's'] ?? 1),
  };
}
