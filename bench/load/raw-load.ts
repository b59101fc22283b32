import { setTimeout as sleep } from 'node:timers/promises';
import type { Child } from '../harness/child.ts';
import type { Usage } from '../harness/child-side.ts';
import type { Placement } from '../harness/placement.ts';
import type { Processes } from '../harness/processes.ts';
import type { LoadCount, LoadGenerator, LoadPlan } from './load-generator.ts';
import type { RawSample, RawStart } from './raw-process.ts';

/** The longest that connections are waited for until each has had its first answer. */
const RAMP_SECONDS = 10;
const RAMP_LOOK_MS = 25;

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
    const atMostSeconds = RAMP_SECONDS + warmupSeconds + seconds + 30;
    await this.#child.ask('start', { port, connections, atMostSeconds, refuses, exchange } satisfies RawStart);
    try {
      await this.#ramp();
      await sleep(warmupSeconds * 1000);
      await begin();
      const before = await this.#child.ask<RawSample>('sample');
      await sleep(seconds * 1000);
      await end();
      const after = await this.#child.ask<RawSample>('sample');
      const errors = after.errors - before.errors;
      const stuck = `${after.stuck} of ${connections} connections without an answer, ${after.unanswered} of them without any so far`;
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

  /**
   * Waits until the gateway has accepted all connections, which is when each has had an answer. libuv accepts one per turn
   * of the loop (1.45 and later), and a turn of a saturated gateway with hundreds of requests takes tens of milliseconds: those at the
   * end of the queue wait for seconds, and would be taken for requests that hang.
   */
  async #ramp(): Promise<void> {
    const end = performance.now() + RAMP_SECONDS * 1000;
    while (performance.now() < end && (await this.#child.ask<number>('unanswered')) > 0) await sleep(RAMP_LOOK_MS);
  }

  async cpuMicros(): Promise<number> {
    return (await this.#child.ask<Usage>('usage')).cpuMicros;
  }

  stop(): Promise<void> {
    return this.#child.stop();
  }
}
