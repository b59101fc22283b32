import { quantileOf } from '../report/statistics.ts';
import { Arrivals } from './arrivals.ts';
import { type Ending, OpenConnection } from './open-connection.ts';

export interface OpenPlan {
  readonly port: number;
  /** Most connections at a time; new ones are opened when all are busy. */
  readonly connections: number;
  readonly perSecond: number;
  readonly warmupSeconds: number;
  readonly seconds: number;
  readonly seed: number;
  /** Whether each request has a connection of its own. */
  readonly isNewEach: boolean;
}

export interface OpenResult {
  /** Requests that were due in the counted time. */
  readonly offered: number;
  readonly good: number;
  readonly rejected: number;
  /** Wrong responses. */
  readonly bad: number;
  /** Broken connections, and requests without a response. */
  readonly lost: number;
  readonly firstProblem: string | undefined;
  /** Milliseconds from when a request was due to the end of its response. */
  readonly goodP50: number;
  readonly goodP99: number;
  readonly rejectedP99: number;
  /** Milliseconds from the start to when the last request was due that was not served within `LATE_MS`. */
  readonly lastLateMs: number;
  /** How many connections were open at the end. */
  readonly open: number;
  /** Milliseconds by which this generator itself was late, p99: above a few, the point says nothing about the target. */
  readonly lagP99: number;
}

/** Nobody likes to wait longer. */
const LATE_MS = 250;
/** How long the last requests may take. */
const PATIENCE_MS = 3_000;

/**
 * Sends requests when they are due, whatever became of those before (open loop), and times each from then on. Unlike `runPaced()` it takes
 * rejections and broken connections for results. A request that finds all connections busy waits for one, which counts as its own time.
 */
export function runOpen(plan: OpenPlan): Promise<OpenResult> {
  const arrivals = new Arrivals(plan.perSecond, plan.seed);
  const startedAt = performance.now();
  const countFrom = startedAt + plan.warmupSeconds * 1_000;
  const endAt = countFrom + plan.seconds * 1_000;
  const times: Record<Ending, number[]> = { good: [], rejected: [], bad: [], broken: [] };
  const waiting: number[] = [];
  let [first, sent, underWay, offered] = [0, 0, 0, 0];
  const lags: number[] = [];
  let firstProblem: string | undefined;
  let lastLateMs = 0;
  const open = new Set<OpenConnection>();
  const idle: OpenConnection[] = [];
  const dead = new WeakSet<OpenConnection>();

  const listener = {
    idle: (connection: OpenConnection) => {
      if (plan.isNewEach) {
        connection.close();
        open.delete(connection);
      } else idle.push(connection);
    },
    ended: (ending: Ending, dueAt: number, why?: string) => {
      underWay -= 1;
      if (dueAt < countFrom) return;
      if (ending === 'bad' || ending === 'broken') firstProblem ??= why;
      const ms = performance.now() - dueAt;
      times[ending].push(ms);
      if (ending !== 'good' || ms > LATE_MS) lastLateMs = Math.max(lastLateMs, dueAt - startedAt);
    },
    closed: (connection: OpenConnection) => {
      dead.add(connection);
      open.delete(connection);
    },
  };
  const connection = (): OpenConnection | undefined => {
    for (let one = idle.pop(); one !== undefined; one = idle.pop()) if (!dead.has(one)) return one;
    if (open.size >= plan.connections) return undefined;
    const made = new OpenConnection(plan.port, listener);
    open.add(made);
    return made;
  };

  return new Promise((resolve) => {
    const turn = (): void => {
      const now = performance.now();
      while (startedAt + arrivals.nextMs <= Math.min(now, endAt)) {
        const dueAt = startedAt + arrivals.nextMs;
        waiting.push(dueAt);
        if (dueAt >= countFrom) {
          offered += 1;
          lags.push(now - dueAt);
        }
        arrivals.pass();
      }
      for (; first < waiting.length; first += 1) {
        const free = connection();
        if (free === undefined) break;
        underWay += 1;
        free.ask(sent++, waiting[first] as number);
      }
      const isOver = now > endAt && first === waiting.length && underWay === 0;
      if (!isOver && now < endAt + PATIENCE_MS) {
        setImmediate(turn);
        return;
      }
      const openAtEnd = open.size;
      for (const one of open) one.close();
      const { good, rejected, bad } = times;
      const answered = good.length + rejected.length + bad.length;
      resolve({
        offered,
        good: good.length,
        rejected: rejected.length,
        bad: bad.length,
        lost: offered - answered,
        firstProblem,
        goodP50: quantile(good, 0.5),
        goodP99: quantile(good, 0.99),
        rejectedP99: quantile(rejected, 0.99),
        lastLateMs,
        open: openAtEnd,
        lagP99: quantile(lags, 0.99),
      });
    };
    turn();
  });
}

/** 0 where there is nothing. */
function quantile(values: readonly number[], q: number): number {
  return values.length === 0 ? 0 : quantileOf(Float64Array.from(values).sort(), q);
}
