import type { MetricType } from 'prom-client';
import type { Declaration, TrafficHistory } from '../../index.ts';
import type { Backends } from '../config/backends-file.ts';
import type { ReloadScope } from '../reload/prepared-reload.ts';

/** A metric with its values, as `getMetricsAsJSON()` of prom-client gives it. */
export interface MetricJson {
  readonly name: string;
  readonly help: string;
  /** A text. The types of prom-client call it a number. */
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
  /** Name of the proxy. */
  readonly proxy: string;
  readonly backend: string;
  readonly held: 'drained' | 'isolated';
}

/** What a worker serves with. */
export interface Plan {
  readonly variables: NodeJS.ProcessEnv;
  readonly backends: Backends;
  /** What `GATEWAY_CONFIG` says, if it is set. */
  readonly declaration: Declaration | undefined;
}

/** What a worker asks first: `hello`. */
export interface Hello {
  /** Whether it has to wait for a place. */
  readonly isSpare: boolean;
  /** Whether it will need the package `redis`. */
  readonly usesRedis: boolean;
}

/** What a worker asks next: `begin`. A spare process is answered when it gets a place. */
export interface Beginning extends Plan {
  /** Of the worker, from 1. */
  readonly place: number;
  readonly operatorStates: readonly OperatorStateEntry[];
  /** Workers that there are when all are up. */
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
