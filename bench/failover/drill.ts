import { setTimeout as sleep } from 'node:timers/promises';
import type { Child } from '../harness/child.ts';
import type { Backend } from './backend.ts';
import type { ClientsStart } from './client-process.ts';
import type { Gateway, GatewayContext } from './gateway.ts';
import type { Moments, Observation } from './observation.ts';
import type { Scenario, Timeline } from './scenario.ts';
import { CONNECTIONS } from './settings.ts';

/** What a closed loop on backends that take their time stays far below. */
const MOST_REQUESTS = 100_000;
/** The clients' own patience, and some more. */
const LAST_ANSWERS_MS = 15_000;

export interface DrillGround {
  readonly context: Omit<GatewayContext, 'backends'>;
  readonly backends: readonly Backend[];
  readonly clients: Child;
  readonly timeline: Timeline;
}

/** One target through one scenario. */
export interface Drill extends Observation {
  /** POSTs that were executed more than once, over all backends. */
  readonly executedTwice: number;
}

/** Leaves all backends up again, whatever happens. */
export async function drill(gateway: Gateway, scenario: Scenario, ground: DrillGround): Promise<Drill> {
  const { backends, context } = ground;
  // One in the middle: neither the first that a gateway asks nor the last.
  const failing = backends[1] as Backend;
  const before = executionsOf(backends);
  try {
    if (scenario.fromStart) await failing.fail(scenario.fault);
    const running = await gateway.start({ ...context, backends: backends.map(({ origin }) => origin) });
    try {
      const observation = await underLoad(running.port, failing, scenario, ground);
      return { ...observation, executedTwice: repeated(executionsOf(backends)) - repeated(before) };
    } finally {
      await running.stop();
    }
  } finally {
    await failing.recover();
  }
}

async function underLoad(port: number, failing: Backend, scenario: Scenario, ground: DrillGround) {
  const { clients, timeline } = ground;
  const { fault, fromStart, method } = scenario;
  const faultMs = Math.min(scenario.faultMs, timeline.atMostFaultMs);
  const atMostMs = timeline.beforeMs + faultMs + timeline.afterMs + LAST_ANSWERS_MS;
  const start: ClientsStart = { port, method, connections: CONNECTIONS, atMostRequests: MOST_REQUESTS, atMostMs };
  await clients.ask('start', start);
  if (!fromStart) await sleep(timeline.beforeMs);
  const failedAt = Date.now();
  if (!fromStart) await failing.fail(fault);
  await sleep(faultMs);
  // A stopped process may answer while the call returns; one that has to start first can only after that.
  const continuedAt = Date.now();
  await failing.recover();
  const returnedAt = fault === 'stopped' ? continuedAt : Date.now();
  await sleep(timeline.afterMs);
  const moments: Moments = { failedAt, returnedAt, backend: failing.name };
  return clients.ask<Observation>('finish', moments, LAST_ANSWERS_MS);
}

function executionsOf(backends: readonly Backend[]): string[] {
  return backends.flatMap((backend) => backend.executions());
}

/** Executions beyond the first of each request; nonces are never used twice. */
function repeated(executions: readonly string[]): number {
  return executions.length - new Set(executions).size;
}
