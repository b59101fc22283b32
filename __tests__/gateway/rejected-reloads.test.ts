import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { ClusterReload } from '../../lib/gateway/cluster/cluster-reload.ts';
import type { Workers } from '../../lib/gateway/cluster/workers.ts';
import { readConfig } from '../../lib/gateway/config/config.ts';
import type { Logger } from '../../lib/gateway/logging/logger.ts';
import { GATEWAY_PROBLEMS } from '../../lib/gateway/observing/gateway-problems.ts';
import { GatewayState, type ReloadKind } from '../../lib/gateway/observing/gateway-state.ts';
import { makeCertificate } from '../support/made-certificate.ts';
import { closeAll, openGateway } from './gateways.ts';
import { until } from './until.ts';

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'expressway-rejected-'));
});

afterEach(async () => {
  await closeAll();
  rmSync(folder, { recursive: true });
});

const problemsOf = (state: GatewayState) =>
  [...(GATEWAY_PROBLEMS.find(({ problem }) => problem === 'reload_rejected')?.find(state) ?? [])].map(
    ({ subject, text, nextStep }) => ({ subject, text, nextStep }),
  );

describe('a rejected reload is a problem until a reload succeeds that reads as much', () => {
  type Step = `${'ok' | 'bad'} ${ReloadKind}`;

  test.each<[readonly Step[], readonly ReloadKind[]]>([
    [['bad certificates', 'ok backends'], ['certificates']],
    [['bad backends', 'ok certificates'], ['backends']],
    [['bad certificates', 'ok certificates'], []],
    [
      ['bad backends', 'bad certificates'],
      ['backends', 'certificates'],
    ],
    [['bad backends', 'bad certificates', 'ok all'], []],
    [['bad backends', 'bad all'], ['all']],
    [['bad all', 'ok backends'], ['all']],
    [['bad all', 'ok all'], []],
    [['bad all', 'ok workers'], []],
    [['bad workers', 'ok all'], ['workers']],
    [['bad workers', 'ok workers'], []],
  ])('%j leaves %j', (steps, left) => {
    const state = new GatewayState();
    for (const step of steps) {
      const [outcome, kind] = step.split(' ') as ['ok' | 'bad', ReloadKind];
      if (outcome === 'ok') state.reloaded(kind);
      else state.rejected(kind, { why: kind, from: undefined, problems: ['wrong'] });
    }
    expect(problemsOf(state).map(({ subject }) => subject)).toEqual(left);
  });
});

test('a changed list of backends does not hide a certificate that cannot be used', async () => {
  const [one, other] = ['one', 'other'].map((name) => makeCertificate(folder, name, { names: [`DNS:${name}.test`] }));
  const [cert, key, file] = ['live.pem', 'live.key', 'backends.json'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  const copy = (from: string | undefined, to: string) => writeFileSync(to, readFileSync(from as string));
  copy(one?.cert, cert);
  copy(one?.key, key);
  writeFileSync(file, '["http://127.0.0.1:9"]');
  const { gateway, logged } = await openGateway([], {
    BACKENDS: '',
    BACKENDS_FILE: file,
    TLS_CERT: cert,
    TLS_KEY: key,
  });
  const logs = (msg: string) => until(() => logged.some((line) => line.msg === msg));
  const rejected = () =>
    (gateway.status() as { problems: { problem: string; subject: string }[] }).problems
      .filter(({ problem }) => problem === 'reload_rejected')
      .map(({ subject }) => subject);
  copy(other?.key, key);
  await logs('reload refused: nothing changed');
  writeFileSync(file, '["http://127.0.0.1:19"]');
  await logs('configuration reloaded');
  await until(() => rejected().length > 0);
  expect(rejected()).toEqual(['a certificate has changed']);
  copy(one?.key, key);
  await until(() => rejected().length === 0);
});

test('workers that were not replaced are a problem until they are, which makes up for a rejected reload as well', async () => {
  const good = { BACKENDS: 'http://a' };
  let variables: Record<string, string> = good;
  const write = () => {};
  const log = { level: 'info', info: write, warn: write, error: write } as unknown as Logger;
  const environment = { name: '.env', first: good, read: () => ({ variables, overridden: [] }) };
  const state = new GatewayState();
  const workers = { serving: [], alive: [], roll: async (_: unknown, apply: () => void) => apply() };
  const parts = { config: readConfig(good), environment, log, state };
  const reload = new ClusterReload({ ...parts, workers: workers as unknown as Workers });
  variables = { ...good, RATE_LIMIT_WINDOW_MS: 'soon', RATE_LIMT_MAX: '5' };
  await reload.run('SIGHUP');
  await reload.roll('SIGUSR2');
  expect(problemsOf(state)).toEqual([
    {
      subject: 'SIGUSR2',
      text: expect.stringMatching(/^The replacement of the workers \(SIGUSR2, \.env\) was rejected.*WINDOW_MS: must/),
      nextStep: expect.stringContaining('SIGUSR2'),
    },
  ]);
  expect(state.misspelt).toHaveLength(1);
  variables = good;
  await reload.run('SIGHUP');
  expect(problemsOf(state).map(({ subject }) => subject)).toEqual(['SIGUSR2']);
  await reload.roll('SIGUSR2');
  expect([problemsOf(state), state.misspelt]).toEqual([[], []]);
});
