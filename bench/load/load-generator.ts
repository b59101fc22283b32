import type { SizedExchange } from '../harness/sized.ts';

/** What one measured stretch of load brought. */
export interface LoadCount {
  readonly requests: number;
  readonly errors: number;
  readonly firstError: string | undefined;
  readonly seconds: number;
}

export interface LoadPlan {
  readonly port: number;
  readonly connections: number;
  readonly warmupSeconds: number;
  readonly seconds: number;
  /** Whether the right answer to each request is a 429. */
  readonly refuses?: boolean;
  /** What is asked, when it is not a GET of a small answer. */
  readonly exchange?: SizedExchange | undefined;
}

/** Puts a closed loop of requests on a port and counts good answers. */
export interface LoadGenerator {
  readonly name: string;
  /** What it checks of every answer, for the report. */
  readonly checks: string;
  /** `begin` and `end` are called at the borders of the measured stretch, to read other counters there. */
  measure(plan: LoadPlan, begin: () => Promise<void>, end: () => Promise<void>): Promise<LoadCount>;
  /** CPU time that it has used so far, when it can tell. */
  cpuMicros(): Promise<number | undefined>;
  stop(): Promise<void>;
}
