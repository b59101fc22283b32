import { type EventLoopUtilization, monitorEventLoopDelay, performance } from 'node:perf_hooks';
import { getHeapStatistics } from 'node:v8';
import type { ProcessStatus } from './status-snapshot.ts';
import type { StatusServer } from './status-sources.ts';

const RESOLUTION_MS = 20;
/** Milliseconds. Over a shorter time, the busy share of the event loop is mostly chance. */
const LEAST_SPAN_MS = 2_000;

/** The load of this process. */
export class ProcessLoad {
  readonly #servers: StatusServer[] = [];
  readonly #delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  readonly #connections: number[] = [];
  #rss = 0;
  #lagBefore = 0;
  #maxBefore = 0;
  #utilization: EventLoopUtilization = performance.eventLoopUtilization();
  #utilizationAt = performance.now();
  #busy = 0;

  constructor() {
    this.#delay.enable();
  }

  add(server: StatusServer): void {
    this.#servers.push(server);
    this.#connections.push(0);
  }

  status(): ProcessStatus {
    this.lookAtServers();
    const now = performance.now();
    if (now - this.#utilizationAt >= LEAST_SPAN_MS) {
      const current = performance.eventLoopUtilization();
      this.#busy = performance.eventLoopUtilization(current, this.#utilization).utilization;
      this.#utilization = current;
      this.#utilizationAt = now;
    }
    const { used_heap_size, heap_size_limit } = getHeapStatistics();
    return {
      node: process.version,
      uptimeMs: Math.round(process.uptime() * 1000),
      loopBusy: round(this.#busy),
      ...this.loop(),
      rssBytes: this.#rssBytes(),
      heapUsedBytes: used_heap_size,
      heapLimitBytes: heap_size_limit,
      connections: this.#connections.reduce((sum, count) => sum + count, 0),
      maxConnections: this.#maxConnections(),
    };
  }

  /** Lag of the event loop: in the present slot, or in the slot before if that is more. */
  loop(): Pick<ProcessStatus, 'pid' | 'loopLagMs' | 'loopMaxMs'> {
    return {
      pid: process.pid,
      loopLagMs: round(Math.max(this.#lagMs(), this.#lagBefore)),
      loopMaxMs: Math.round(Math.max(this.#maxMs(), this.#maxBefore)),
    };
  }

  /** Ends a slot of the history, and gives its lag. */
  turn(): number {
    // If the event loop was blocked when the slot ended, the timer of the histogram is due as well. It may come after this one, in this turn or
    // the next. A reset before it would lose the blocked turn.
    setImmediate(() => setImmediate(() => this.#beginSlot()));
    return round(this.#lagMs());
  }

  close(): void {
    this.#delay.disable();
  }

  #beginSlot(): void {
    this.#lagBefore = this.#lagMs();
    this.#maxBefore = this.#maxMs();
    this.#delay.reset();
  }

  #lagMs(): number {
    // It measures from one timer to the next, so the interval itself is included.
    const ms = this.#delay.percentile(99) / 1e6 - RESOLUTION_MS;
    return this.#delay.count > 0 ? Math.max(0, ms) : 0;
  }

  #maxMs(): number {
    return this.#delay.count > 0 ? Math.max(0, this.#delay.max / 1e6 - RESOLUTION_MS) : 0;
  }

  /** Node opens a file to read the memory size. Without a free descriptor, the last value stays. */
  #rssBytes(): number {
    try {
      this.#rss = process.memoryUsage.rss();
    } catch {
      // The status page must work, above all when descriptors run out.
    }
    return this.#rss;
  }

  /** Node counts connections asynchronously, so the count is for the next status. */
  lookAtServers(): void {
    for (const [index, server] of this.#servers.entries()) {
      server.getConnections((error, count) => {
        if (error === null) this.#connections[index] = count;
      });
    }
  }

  #maxConnections(): number {
    const caps = this.#servers.map(({ maxConnections }) => maxConnections ?? 0);
    return caps.length === 0 || caps.includes(0) ? 0 : caps.reduce((sum, cap) => sum + cap, 0);
  }
}

const round = (value: number): number => Math.round(value * 1000) / 1000;
