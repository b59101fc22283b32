import { loadavg } from 'node:os';
import { Backend } from '../failover/backend.ts';
import { type DrillGround, drill } from '../failover/drill.ts';
import { type Gateway, NodeGateway } from '../failover/gateway.ts';
import { Nginx } from '../failover/nginx.ts';
import { type FailoverRow, failoverPanels, failoverText, isValid, rowOf } from '../failover/report.ts';
import { SCENARIOS, type Scenario, SMOKE_SCENARIOS, SMOKE_TIMELINE, TIMELINE } from '../failover/scenario.ts';
import { BACKENDS, CONNECTIONS, REST_MS, SERVICE_MS, TIMEOUT_MS } from '../failover/settings.ts';
import type { Flags } from '../flags.ts';
import { inTempFolder } from '../harness/temp-folder.ts';
import { describeMachine } from '../harness/versions.ts';
import { writeChart, writeResult } from '../report/result-file.ts';
import type { Bench, Subcommand } from './subcommand.ts';

const GATEWAYS: readonly Gateway[] = [
  new NodeGateway('suite', 'Expressway: ipRateLimit + circuitBreaker + roundRobinProxy with health checks'),
  new NodeGateway('hpm', 'http-proxy-middleware on Express 5, router that takes turns, keep-alive agent'),
  new Nginx(),
];

/** To start a gateway and a killed backend, per drill. */
const OVERHEAD_SECONDS = 20;

export const failover: Subcommand = {
  name: 'failover',
  // A fault is counted, not averaged: one round tells the story, and 7 of them would take half an hour.
  defaults: { rounds: 1 },
  about: `what clients see when a backend fails (failover [${SCENARIOS.map(({ name }) => name).join('|')}...])`,

  atMostSeconds(flags: Flags): number {
    const { beforeMs, afterMs } = timelineOf(flags);
    const drills = scenariosOf(flags).map(({ faultMs }) => (beforeMs + faultMs + afterMs) / 1000 + OVERHEAD_SECONDS);
    return flags.rounds * gatewaysOf(flags).length * drills.reduce((sum, seconds) => sum + seconds, 0) + 60;
  },

  async run(given: Bench): Promise<boolean> {
    const flags = { ...given.flags, connections: CONNECTIONS };
    const bench = { ...given, flags };
    const { placement, print, progress } = bench;
    if (flags.load !== 'raw') throw new Error('failover has a load of its own: --load does not apply');
    const loadAverage = loadavg()[0] as number;
    const scenarios = scenariosOf(flags);
    const chosen = gatewaysOf(flags);
    const missing = chosen.flatMap((gateway) => {
      const why = gateway.missing();
      return why === undefined ? [] : [{ name: gateway.name, why }];
    });
    const gateways = chosen.filter(({ name }) => !missing.some((one) => one.name === name));
    progress(placement.description);
    const rows = await inTempFolder((folder) => drillAll(bench, gateways, scenarios, folder));
    const result = {
      name: failover.name,
      date: new Date().toISOString(),
      machine: describeMachine(),
      placement: placement.description,
      loadAverageBefore: loadAverage,
      flags,
      settings: { BACKENDS, CONNECTIONS, TIMEOUT_MS, REST_MS, SERVICE_MS },
      timeline: timelineOf(flags),
      scenarios,
      targets: gateways.map(({ name, title }) => ({ name, title })),
      missing,
      rows,
    };
    if (flags.json) print(JSON.stringify(result, undefined, 2));
    else print(failoverText(result));
    if (!flags.smoke) {
      const name = `${failover.name}${flags.only === undefined && flags.operands.length === 0 ? '' : '.partial'}`;
      const panels = failoverPanels(result);
      progress(`written: ${writeResult(`${name}.json`, { ...result, panels })}`);
      progress(`written: ${writeChart(name, 'failover: what clients see when a backend fails', result, panels)}`);
    }
    return rows.length > 0 && rows.every(isValid);
  },
};

/** Every target goes through a scenario before anybody goes through the next one: all see the same machine. */
async function drillAll(
  { flags, processes, placement, progress }: Bench,
  gateways: readonly Gateway[],
  scenarios: readonly Scenario[],
  folder: string,
): Promise<FailoverRow[]> {
  const rows = scenarios.flatMap((scenario) => gateways.map((gateway) => rowOf(scenario, gateway)));
  const script = new URL('../failover/client-process.ts', import.meta.url);
  const clients = processes.start({ name: 'clients', script, cpus: placement.load });
  await clients.ready();
  const context = { processes, placement, folder };
  const names = Array.from({ length: BACKENDS }, (_, index) => `b${index + 1}`);
  const backends = await Promise.all(names.map((name) => Backend.start(name, context)));
  const ground: DrillGround = { context, backends, clients, timeline: timelineOf(flags) };
  for (let round = 0; round < flags.rounds; round += 1) {
    for (const scenario of scenarios) {
      for (let turn = 0; turn < gateways.length; turn += 1) {
        // Another first one each round: nobody always follows the same neighbour.
        const gateway = gateways[(turn + round) % gateways.length] as Gateway;
        const row = rows.find((one) => one.scenario === scenario.name && one.target === gateway.name) as FailoverRow;
        if (row.failure !== undefined) continue;
        try {
          row.drills.push(await drill(gateway, scenario, ground));
        } catch (error) {
          row.failure = error instanceof Error ? error.message : String(error);
        }
        progress(
          `round ${round + 1}/${flags.rounds}  ${scenario.name}  ${gateway.name}  ${row.failure ?? ''}`.trimEnd(),
        );
      }
    }
  }
  await Promise.all([clients.stop(), ...backends.map((backend) => backend.stop())]);
  return rows;
}

function timelineOf({ smoke }: Flags) {
  return smoke ? SMOKE_TIMELINE : TIMELINE;
}

function scenariosOf({ operands, smoke }: Flags): readonly Scenario[] {
  const wanted = operands.length > 0 ? operands : smoke ? SMOKE_SCENARIOS : undefined;
  return chosenOf('scenario', SCENARIOS, wanted);
}

function gatewaysOf({ only }: Flags): readonly Gateway[] {
  return chosenOf('target', GATEWAYS, only);
}

function chosenOf<T extends { readonly name: string }>(
  what: string,
  all: readonly T[],
  wanted: readonly string[] | undefined,
): readonly T[] {
  const unknown = wanted?.filter((name) => !all.some((one) => one.name === name)) ?? [];
  if (unknown.length > 0) {
    throw new Error(`failover has no ${what} ${unknown.join(', ')}; it has ${all.map(({ name }) => name).join(', ')}`);
  }
  return all.filter(({ name }) => wanted?.includes(name) ?? true);
}
