import { setTimeout as sleep } from 'node:timers/promises';
import type { Child } from '../harness/child.ts';
import type { Usage } from '../harness/child-side.ts';
import type { Placement } from '../harness/placement.ts';
import type { Processes } from '../harness/processes.ts';
import type { LoadCount, LoadGenerator, LoadPlan } from './load-generator.ts';
import type { RawSample, RawStart } from './raw-process.ts';

/** Our own generator on raw sockets: the cheapest per request, and the only one that checks a new nonce each time. */
export class RawLoad implements LoadGenerator {
  readonly name = 'raw';
  readonly checks = 'status, whole content with the nonce of its request';
  readonly #child: Child;

  private constructor(child: Child) {
    this.#child = child;
  }

  static async start(processes: Processes, placement: Placement): Promise<RawLoad> {
    const script = new URL('./raw-process.ts', import.meta.url);
    const child = processes.start({ name: 'load', script, cpus: placement.load });
    await child.ready();
    return new RawLoad(child);
  }

  async measure(plan: LoadPlan, begin: () => Promise<void>, end: () => Promise<void>): Promise<LoadCount> {
    const { port, connections, warmupSeconds, seconds, refuses = false, exchange } = plan;
    const atMostSeconds = warmupSeconds + seconds + 30;
    await this.#child.ask('start', { port, connections, atMostSeconds, refuses, exchange } satisfies RawStart);
    try {
      await sleep(warmupSeconds * 1000);
      await begin();
      const before = await this.#child.ask<RawSample>('sample');
      await sleep(seconds * 1000);
      await end();
      const after = await this.#child.ask<RawSample>('sample');
      const errors = after.errors - before.errors;
      const stuck = `${after.stuck} of ${connections} connections without an answer`;
      return {
        requests: after.requests - before.requests,
        errors: errors + after.stuck,
        firstError: errors > 0 ? after.firstError : after.stuck > 0 ? stuck : undefined,
        seconds: (after.at - before.at) / 1000,
      };
    } finally {
      await this.#child.ask('stop').catch(() => this.#child.kill());
    }
  }

  async cpuMicros(): Promise<number> {
    return (await this.#child.ask<Usage>('usage')).cpuMicros;
  }

  stop(): Promise<void> {
    return this.#child.stop();
  }
}
