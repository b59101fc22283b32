import type { Server } from 'node:net';
import { type EventLoopUtilization, performance } from 'node:perf_hooks';
import { acceptQueueLength } from './accept-queue.ts';
import type { LoopSample } from './overload-detector.ts';

/** New connections per turn of the event loop from which more may wait in the kernel: libuv accepts one per turn. */
const QUEUED_CONNECTIONS_PER_TURN = 0.9;

/** A shorter accept queue is ignored. A few dozen clients that open a connection for each request cause one that does not grow. */
const LEAST_QUEUE = 64;

/** Measures the event loop, from one sample to the next. */
export class LoopSampler {
  /** Servers whose connections are counted. */
  readonly #servers = new Set<Server>();
  #newConnections = 0;
  #turns = 0;
  #used: EventLoopUtilization = performance.eventLoopUtilization();
  #cpu: NodeJS.CpuUsage = process.cpuUsage();
  #takenAt = performance.now();

  /** Counts the new connections of a server. */
  watch(server: Server | undefined): void {
    if (server === undefined || this.#servers.has(server)) return;
    this.#servers.add(server);
    const connected = (): void => {
      this.#newConnections += 1;
    };
    server.on('connection', connected);
    server.once('close', () => {
      server.off('connection', connected);
      this.#servers.delete(server);
    });
  }

  /** Processor time since the last sample, in milliseconds. */
  readonly cpuMs = (): number => {
    const { user, system } = process.cpuUsage(this.#cpu);
    return (user + system) / 1_000;
  };

  /** @param delayMs By how much the sample is late. */
  take(delayMs: number, now: number): LoopSample {
    const used = performance.eventLoopUtilization();
    const cpu = process.cpuUsage();
    const takenAt = performance.now();
    const { loopCount } = performance.nodeTiming.uvMetricsInfo;
    const turns = Math.max(1, loopCount - this.#turns);
    const cpuMs = (cpu.user + cpu.system - this.#cpu.user - this.#cpu.system) / 1_000;
    const sample = {
      delayMs,
      acceptDelayMs: this.#acceptDelayMs(turns, Math.min(cpuMs, takenAt - this.#takenAt)),
      idleShare: 1 - performance.eventLoopUtilization(used, this.#used).utilization,
      turns,
      cpuMs,
      now,
    };
    this.#used = used;
    this.#cpu = cpu;
    this.#turns = loopCount;
    this.#takenAt = takenAt;
    this.#newConnections = 0;
    return sample;
  }

  /** How long a new connection waits until it is accepted, at the present rate of accepted connections. */
  #acceptDelayMs(turns: number, elapsedMs: number): number {
    if (this.#newConnections < QUEUED_CONNECTIONS_PER_TURN * turns) return 0;
    const length = this.#longestQueue();
    return length < LEAST_QUEUE ? 0 : (length * elapsedMs) / this.#newConnections;
  }

  #longestQueue(): number {
    let longest = 0;
    for (const server of this.#servers) {
      const address = server.address();
      if (address !== null && typeof address === 'object') longest = Math.max(longest, acceptQueueLength(address));
    }
    return longest;
  }
}
