import type { MetricType } from 'prom-client';
import type { Declaration, TrafficHistory } from '../../index.ts';
import type { Backends } from '../config/backends-file.ts';
import type { ReloadScope } from '../reload/prepared-reload.ts';

/** A metric in the form of prom-client's `getMetricsAsJSON()`. */
export interface MetricJson {
  readonly name: string;
  readonly help: string;
  /** A text, although the types of prom-client say number. */
  readonly type: string | MetricType;
  readonly aggregator?: string | undefined;
  readonly values?: readonly MetricValueJson[];
}

export interface MetricValueJson {
  readonly value: number;
  readonly labels: Readonly<Partial<Record<string, string | number>>>;
  readonly metricName?: string;
}

/** A backend that an operator keeps out. `setOperatorStates` tells a worker all of them when it becomes ready. */
export interface OperatorStateEntry {
  /** Name of the service. */
  readonly service: string;
  readonly backend: string;
  readonly held: 'drained' | 'isolated';
}

/** The configuration of a worker. */
export interface Plan {
  readonly variables: NodeJS.ProcessEnv;
  readonly backends: Backends;
  /** The content of `GATEWAY_CONFIG`, if it is set. */
  readonly declaration: Declaration | undefined;
}

/** Reply to a worker's first question, `hello`. */
export interface Hello {
  /** Whether it is the spare process. */
  readonly isSpare: boolean;
  /** Whether it will need the package `redis`. */
  readonly usesRedis: boolean;
}

/** Reply to a worker's next question, `begin`. A spare process gets the reply when it replaces a worker. */
export interface Beginning extends Plan {
  /** Number of the worker, from 1. */
  readonly place: number;
  readonly operatorStates: readonly OperatorStateEntry[];
  /** The value of WORKERS. */
  readonly workers: number;
}

/** `ready`, sent by a worker that serves. */
export interface Ready {
  readonly url: string;
}

/** `failed`, sent by a worker that cannot start for a reason that the operator can mend. */
export interface Failed {
  readonly problems: readonly string[];
}

/** `prepare`, asked by the primary: what a reload would bring. Then it asks for `apply`, or sends `discard`. */
export interface Prepare extends Plan {
  readonly scope: ReloadScope;
}

export interface Preparation {
  readonly problems: readonly string[];
  readonly facts: object;
}

/** `finalReport`, sent by a worker that ends in order: its counts must not be lost. */
export interface FinalReport {
  readonly metrics: readonly MetricJson[] | undefined;
  readonly history: TrafficHistory | undefined;
}
