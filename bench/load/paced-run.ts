import { quantileOf } from '../report/statistics.ts';
import { Arrivals } from './arrivals.ts';
import { PacedConnection } from './paced-connection.ts';

export interface PacedPlan {
  readonly port: number;
  readonly connections: number;
  readonly perSecond: number;
  readonly warmupSeconds: number;
  readonly seconds: number;
  readonly seed: number;
}

/** Microseconds. */
export interface Quantiles {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

export interface PacedResult {
  readonly requests: number;
  readonly errors: number;
  readonly firstError: string | undefined;
  /** From when a request was due to when its answer was whole. */
  readonly latency: Quantiles;
  /** From when it was due to when it was sent: what the load itself was late by, and what it waited for a connection. */
  readonly sendDelay: Quantiles;
}

/** Time for what is under way when the last request was sent. */
const PATIENCE_MS = 2_000;

/**
 * Sends requests when they are due, whatever became of those before, and times each from then on: a gateway that stands
 * still is charged for all who would have come meanwhile (no coordinated omission). A request that finds all connections
 * busy waits for one. The loop never sleeps, as a timer of 1 ms would be coarser than what is measured.
 */
export function runPaced(plan: PacedPlan): Promise<PacedResult> {
  const { port, perSecond, warmupSeconds, seconds, seed } = plan;
  const arrivals = new Arrivals(perSecond, seed);
  const latencies: number[] = [];
  const sendDelays: number[] = [];
  const idle: PacedConnection[] = [];
  const waiting: number[] = [];
  let [sent, underWay, errors] = [0, 0, 0];
  let firstError: string | undefined;
  const startedAt = performance.now();
  const countFrom = startedAt + warmupSeconds * 1000;
  const endAt = countFrom + seconds * 1000;

  const listener = {
    idle: (connection: PacedConnection) => void idle.push(connection),
    answered: (dueAt: number) => {
      underWay -= 1;
      if (dueAt >= countFrom) latencies.push((performance.now() - dueAt) * 1000);
    },
    failed: (why: string) => {
      errors += 1;
      firstError ??= why;
    },
  };
  const all = Array.from({ length: plan.connections }, () => new PacedConnection(port, listener));

  return new Promise((resolve) => {
    const turn = (): void => {
      const now = performance.now();
      while (startedAt + arrivals.nextMs <= Math.min(now, endAt)) {
        waiting.push(startedAt + arrivals.nextMs);
        arrivals.pass();
      }
      while (waiting.length > 0 && idle.length > 0) {
        const dueAt = waiting.shift() as number;
        if (dueAt >= countFrom) sendDelays.push((performance.now() - dueAt) * 1000);
        underWay += 1;
        (idle.pop() as PacedConnection).ask(sent++, dueAt);
      }
      const isOver = now > endAt && waiting.length === 0 && underWay === 0;
      if (!isOver && now < endAt + PATIENCE_MS && errors === 0) {
        setImmediate(turn);
        return;
      }
      for (const connection of all) connection.close();
      const unanswered = errors === 0 ? waiting.length + underWay : 0;
      if (unanswered > 0) firstError ??= `${unanswered} requests without an answer`;
      resolve({
        requests: latencies.length,
        errors: errors + unanswered,
        firstError,
        latency: quantilesOf(latencies),
        sendDelay: quantilesOf(sendDelays),
      });
    };
    turn();
  });
}

function quantilesOf(values: readonly number[]): Quantiles {
  const sorted = Float64Array.from(values).sort();
  const at = (q: number) => quantileOf(sorted, q);
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1) };
}
