/**
 * Bytes that the limiter keeps per client, and the longest single call on the way there:
 * `node --expose-gc --conditions=expressway-source bench/limiter-memory.ts [clients]`.
 */

import { slidingWindow } from '../lib/rate-limit/algorithms/sliding-window.ts';
import { tokenBucket } from '../lib/rate-limit/algorithms/token-bucket.ts';
import { MemoryMeter } from '../lib/rate-limit/memory/memory-meter.ts';

const clients = Number(process.argv[2] ?? 1_000_000);
const { gc } = globalThis as { gc?: () => void };
if (gc === undefined) throw new Error('needs --expose-gc');

const settledHeap = (): number => {
  for (let i = 0; i < 3; i++) gc();
  return process.memoryUsage().heapUsed;
};

/** As proxy-addr cuts it from X-Forwarded-For: a slice that would keep the whole value. */
const addressOf = (i: number): string => {
  const [a, b, c, d] = [i / 1_000_000, i / 10_000, i / 100, i].map((part) => 100 + (Math.floor(part) % 100));
  return `198.51.100.1, ${a}.${b}.${c}.${d}`.slice(14);
};

for (const [name, algorithm] of Object.entries({ 'sliding-window': slidingWindow, 'token-bucket': tokenBucket })) {
  const quotas = [{ limit: 100, windowMs: 3_600_000, burst: 100 }];
  const before = settledHeap();
  let meter: MemoryMeter | undefined = new MemoryMeter({ algorithm, quotas, maxKeys: clients * 2, onFull() {} });
  const times: number[] = [];
  for (let i = 0; i < clients; i++) {
    const start = performance.now();
    meter.take({ key: addressOf(i), cost: 1, limit: undefined });
    times.push(performance.now() - start);
  }
  const slowest = Float64Array.from(times).sort().slice(-5).reverse();
  times.length = 0;
  const bytes = settledHeap() - before;
  process.stdout.write(
    `${name}: ${meter.size} clients, ${(bytes / meter.size).toFixed(0)} bytes each; ` +
      `slowest calls ${Array.from(slowest, (ms) => ms.toFixed(1)).join(', ')} ms (garbage collection included)\n`,
  );
  meter = undefined;
}
