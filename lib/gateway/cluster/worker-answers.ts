import { Registry } from 'prom-client';
import type { BackendRow, StatusSnapshot, TrafficHistory } from '../../index.ts';
import type { BackendOperation } from '../admin/operator-api.ts';
import { readConfig } from '../config/config.ts';
import type { Gateway } from '../gateway.ts';
import type { PreparedReload } from '../reload/prepared-reload.ts';
import { problemsIn } from '../reload/prepared-reload.ts';
import { stateKey } from './cluster-control.ts';
import type { FinalReport, MetricJson, OperatorStateEntry, Preparation, Prepare } from './messages.ts';
import type { Peer } from './peer.ts';

const OPERATION_OF = { drained: 'drain', isolated: 'isolate' } as const;

/** Handles questions and messages of the primary while the worker serves. */
export function answerPrimary(primary: Peer, gateway: Gateway): void {
  answerReload(primary, gateway);
  const { site } = gateway.operator;
  primary.on('metrics', () => metricsOf(gateway));
  if (site === undefined) return;
  const { feed, control } = site;
  const backends = (): readonly BackendRow[] => (feed.snapshot() as StatusSnapshot).backends;
  let leave: (() => void) | undefined;
  primary.on<boolean>('watch', (isWatched) => {
    if (isWatched === (leave !== undefined)) return;
    leave?.();
    leave = isWatched
      ? feed.watch({
          snapshot: (snapshot) => void primary.send('snapshot', snapshot),
          history: (history) => void primary.send('history', history),
        })
      : undefined;
  });
  primary.on('snapshot', () => feed.snapshot());
  primary.on('history', () => feed.history());
  primary.on('operatorStates', (): OperatorStateEntry[] =>
    backends().flatMap(({ service, backend, held }) => (held === undefined ? [] : [{ service, backend, held }])),
  );
  primary.on<BackendOperation>('operate', (operation) => control.operate(operation));
  primary.on<readonly OperatorStateEntry[]>('setOperatorStates', (states) => {
    const wanted = new Map(states.map((state) => [stateKey(state), state.held]));
    for (const { service, backend, held } of backends()) {
      const next = wanted.get(stateKey({ service, backend }));
      if (next !== held)
        control.operate({ operation: next === undefined ? 'restore' : OPERATION_OF[next], backend, service });
    }
  });
  primary.on<string>('resetLimit', (client) => control.resetLimit(client));
}

/** The last report of a worker, so that its counts are kept. */
export async function finalReport(gateway: Gateway): Promise<FinalReport> {
  const history = (await gateway.operator.site?.feed.history()) as TrafficHistory | undefined;
  return { metrics: await metricsOf(gateway), history };
}

async function metricsOf({ operator: { register } }: Gateway): Promise<readonly MetricJson[] | undefined> {
  if (!(register instanceof Registry)) return undefined;
  return register.getMetricsAsJSON();
}

function answerReload(primary: Peer, gateway: Gateway): void {
  let prepared: PreparedReload | undefined;
  primary.on<Prepare>('prepare', async ({ variables, backends, declaration, scope }): Promise<Preparation> => {
    try {
      prepared?.discard();
      prepared = await gateway.prepareReload({ ...readConfig(variables), backends, declaration }, scope);
      return { problems: prepared.problems, facts: prepared.facts };
    } catch (error) {
      return { problems: problemsIn(error), facts: {} };
    }
  });
  primary.on('apply', () => {
    prepared?.apply();
    prepared = undefined;
  });
  primary.on('discard', () => {
    prepared?.discard();
    prepared = undefined;
  });
}
