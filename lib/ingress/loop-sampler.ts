import { type EventLoopUtilization, performance } from 'node:perf_hooks';
import type { LoopSample } from './admission.ts';

/** Measures the event loop, from one sample to the next. */
export class LoopSampler {
  #turns = 0;
  #used: EventLoopUtilization = performance.eventLoopUtilization();
  #cpu: NodeJS.CpuUsage = process.cpuUsage();

  take(delayMs: number, now: number): LoopSample {
    const used = performance.eventLoopUtilization();
    const cpu = process.cpuUsage();
    const { loopCount } = performance.nodeTiming.uvMetricsInfo;
    const sample = {
      delayMs,
      idleShare: 1 - performance.eventLoopUtilization(used, this.#used).utilization,
      turns: Math.max(1, loopCount - this.#turns),
      cpuMs: (cpu.user + cpu.system - this.#cpu.user - this.#cpu.system) / 1_000,
      now,
    };
    this.#used = used;
    this.#cpu = cpu;
    this.#turns = loopCount;
    return sample;
  }
}
