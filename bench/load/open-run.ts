import { setTimeout as sleep } from 'node:timers/promises';
import { quantileOf } from '../report/statistics.ts';
import { Arrivals } from './arrivals.ts';
import { type Ending, OpenConnection } from './open-connection.ts';

export interface OpenPlan {
  readonly port: number;
  /** Connections. They are open, and have had a response, before the load begins. */
  readonly connections: number;
  readonly perSecond: number;
  readonly warmupSeconds: number;
  readonly seconds: number;
  /** Afterwards so many requests come, for so long, to see when all is well again. */
  readonly after: { readonly perSecond: number; readonly seconds: number } | undefined;
  readonly seed: number;
  /** Whether each request has a connection of its own. None is open before. */
  readonly isNewEach: boolean;
}

export interface OpenResult {
  /** Requests that were due in the counted time. */
  readonly offered: number;
  readonly good: number;
  /** Right responses that came in the counted time, whenever their requests were due. */
  readonly served: number;
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
  /** Milliseconds from the end of the overload to when the last request was due that was not served within `LATE_MS`. */
  readonly recoveryMs: number;
  /** How many connections were open at the end. */
  readonly open: number;
  /** Milliseconds by which this generator itself was late, p99: above a few, the point says nothing about the target. */
  readonly lagP99: number;
  /** When the counted time began and ended, as of `Date.now()`. */
  readonly counted: readonly [number, number];
}

const LATE_MS = 250;
/** How long the last requests may take. */
const PATIENCE_MS = 3_000;
/** Connections that are opened at a time before the load begins: a server of Node accepts one per turn of its event loop. */
const OPENED_AT_A_TIME = 32;
const OPENING_MS = 20_000;

/**
 * Sends requests when they are due, whatever became of those before (open loop), and times each from then on. Unlike `runPaced()` it takes
 * rejections and broken connections for results. A request that finds all connections busy waits for one, which counts as its own time.
 */
export async function runOpen(plan: OpenPlan): Promise<OpenResult> {
  const run = new OpenRun(plan);
  if (!plan.isNewEach) await run.openAll();
  return run.run();
}

export interface ClosedPlan {
  readonly port: number;
  /** All of them are busy all the time. */
  readonly connections: number;
  readonly warmupSeconds: number;
  readonly seconds: number;
}

/** The capacity of a target: right responses per second while each connection asks again as soon as it has its response (closed loop). */
export async function runClosed({ warmupSeconds, seconds, ...plan }: ClosedPlan): Promise<number> {
  const run = new OpenRun({
    ...plan,
    perSecond: 0,
    warmupSeconds,
    seconds,
    after: undefined,
    seed: 0,
    isNewEach: false,
  });
  await run.openAll();
  return run.saturate();
}

class OpenRun {
  readonly #plan: OpenPlan;
  readonly #times: Record<Ending, number[]> = { good: [], rejected: [], bad: [], broken: [] };
  readonly #lags: number[] = [];
  readonly #open = new Set<OpenConnection>();
  readonly #idle: OpenConnection[] = [];
  readonly #dead = new WeakSet<OpenConnection>();
  readonly #listener = {
    idle: (connection: OpenConnection) => this.#isIdle(connection),
    ended: (ending: Ending, dueAt: number, why?: string) => this.#ended(ending, dueAt, why),
    closed: (connection: OpenConnection) => {
      this.#dead.add(connection);
      this.#open.delete(connection);
      this.#opened?.();
    },
  };
  #sent = 0;
  /** Whether each connection asks again at once. */
  #isClosed = false;
  #underWay = 0;
  #offered = 0;
  #served = 0;
  #firstProblem: string | undefined;
  #lastLateAt = 0;
  #countFrom = Number.POSITIVE_INFINITY;
  #countUntil = Number.POSITIVE_INFINITY;
  /** While connections are opened: one more may be. */
  #opened: (() => void) | undefined;

  constructor(plan: OpenPlan) {
    this.#plan = plan;
  }

  /** Connections that have had a response. What a target cannot open in time is opened under load. */
  async openAll(): Promise<void> {
    const until = performance.now() + OPENING_MS;
    let opening = 0;
    await new Promise<void>((resolve) => {
      const next = (): void => {
        if (this.#open.size >= this.#plan.connections || performance.now() > until) {
          if (opening === 0) resolve();
          return;
        }
        opening += 1;
        this.#connect().ask(this.#sent++, Number.NEGATIVE_INFINITY);
      };
      this.#opened = () => {
        opening -= 1;
        next();
      };
      for (let count = 0; count < OPENED_AT_A_TIME; count += 1) next();
      setTimeout(resolve, OPENING_MS).unref();
    });
    this.#opened = undefined;
  }

  run(): Promise<OpenResult> {
    const { perSecond, warmupSeconds, seconds, after, seed } = this.#plan;
    const startedAt = performance.now();
    this.#countFrom = startedAt + warmupSeconds * 1_000;
    this.#countUntil = this.#countFrom + seconds * 1_000;
    const endAt = this.#countUntil + (after?.seconds ?? 0) * 1_000;
    const waiting: number[] = [];
    let first = 0;
    let arrivals = new Arrivals(perSecond, seed);
    let arrivalsFrom = startedAt;
    return new Promise((resolve) => {
      const turn = (): void => {
        const now = performance.now();
        for (;;) {
          const dueAt = arrivalsFrom + arrivals.nextMs;
          if (dueAt > now || dueAt > endAt) break;
          if (after !== undefined && arrivalsFrom === startedAt && dueAt > this.#countUntil) {
            arrivals = new Arrivals(after.perSecond, seed);
            arrivalsFrom = this.#countUntil;
            continue;
          }
          waiting.push(dueAt);
          if (this.#isCounted(dueAt)) {
            this.#offered += 1;
            this.#lags.push(now - dueAt);
          }
          arrivals.pass();
        }
        for (; first < waiting.length; first += 1) {
          const free = this.#free();
          if (free === undefined) break;
          this.#underWay += 1;
          free.ask(this.#sent++, waiting[first] as number);
        }
        const isOver = now > endAt && first === waiting.length && this.#underWay === 0;
        if (!isOver && now < endAt + PATIENCE_MS) {
          setImmediate(turn);
          return;
        }
        // What has had no response is late as well.
        if (!isOver) this.#lastLateAt = endAt;
        resolve(this.#result());
      };
      turn();
    });
  }

  #result(): OpenResult {
    const open = this.#open.size;
    for (const one of this.#open) one.close();
    const { good, rejected, bad } = this.#times;
    return {
      offered: this.#offered,
      good: good.length,
      served: this.#served,
      rejected: rejected.length,
      bad: bad.length,
      lost: this.#offered - good.length - rejected.length - bad.length,
      firstProblem: this.#firstProblem,
      goodP50: quantile(good, 0.5),
      goodP99: quantile(good, 0.99),
      rejectedP99: quantile(rejected, 0.99),
      recoveryMs: Math.max(0, this.#lastLateAt - this.#countUntil),
      open,
      lagP99: quantile(this.#lags, 0.99),
      counted: [performance.timeOrigin + this.#countFrom, performance.timeOrigin + this.#countUntil],
    };
  }

  async saturate(): Promise<number> {
    const { warmupSeconds, seconds } = this.#plan;
    this.#countFrom = performance.now() + warmupSeconds * 1_000;
    this.#countUntil = this.#countFrom + seconds * 1_000;
    this.#isClosed = true;
    for (const connection of this.#idle.splice(0)) this.#isIdle(connection);
    await sleep((warmupSeconds + seconds) * 1_000);
    this.#isClosed = false;
    return this.#result().served / seconds;
  }

  #isCounted(dueAt: number): boolean {
    return dueAt >= this.#countFrom && dueAt < this.#countUntil;
  }

  #connect(): OpenConnection {
    const made = new OpenConnection(this.#plan.port, this.#listener);
    this.#open.add(made);
    return made;
  }

  #free(): OpenConnection | undefined {
    for (let one = this.#idle.pop(); one !== undefined; one = this.#idle.pop()) if (!this.#dead.has(one)) return one;
    return this.#open.size >= this.#plan.connections ? undefined : this.#connect();
  }

  #isIdle(connection: OpenConnection): void {
    if (this.#isClosed) {
      connection.ask(this.#sent++, performance.now());
    } else if (this.#plan.isNewEach) {
      connection.close();
      this.#open.delete(connection);
    } else this.#idle.push(connection);
    this.#opened?.();
  }

  #ended(ending: Ending, dueAt: number, why?: string): void {
    if (dueAt === Number.NEGATIVE_INFINITY) return;
    this.#underWay -= 1;
    const now = performance.now();
    const ms = now - dueAt;
    if (ending === 'good' && this.#isCounted(now)) this.#served += 1;
    if (ending !== 'good' || ms > LATE_MS) this.#lastLateAt = Math.max(this.#lastLateAt, dueAt);
    if (!this.#isCounted(dueAt)) return;
    if (ending === 'bad' || ending === 'broken') this.#firstProblem ??= why;
    this.#times[ending].push(ms);
  }
}

/** 0 where there is nothing. */
function quantile(values: readonly number[], q: number): number {
  return values.length === 0 ? 0 : quantileOf(Float64Array.from(values).sort(), q);
}
