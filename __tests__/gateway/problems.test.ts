import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { GatewayProblem } from 'expressway';
import { pause } from '../support/pause.ts';
import { StagedGateway } from './staged-gateway.ts';
import { ask, prepareAll, STAGES, type Stage, Staging } from './staged-problems.ts';
import { until } from './until.ts';

// Stages each failure against a gateway in a process of its own. PROBLEMS_TABLE=on prints where an operator sees it, after how long, in which words.

/** They wait more than they compute. */
const AT_ONCE = 6;
/** The table has tenths of seconds, and each failure alone. */
const HAS_TABLE = process.env.PROBLEMS_TABLE === 'on';
const LOOK_EVERY_MS = HAS_TABLE ? 100 : 300;
/** For a loaded machine; the table has the times. */
const PATIENCE_MS = 60_000;

/** Seconds after which it was seen there; nothing where it was not. */
interface Seen {
  page?: number;
  status?: number;
  metric?: number;
  log?: number;
  headline: string;
  words: string;
}

const results = new Map<string, Seen>();

const textOf = (headline: string, { text, nextStep }: GatewayProblem): string => `${headline}\n${text}\n${nextStep}`;

/** Looks everywhere until it is seen everywhere. */
async function watch(stage: Stage, gateway: StagedGateway, seen: Seen): Promise<void> {
  const { problem, says } = stage;
  const began = performance.now();
  const now = (): number => Math.round((performance.now() - began) / 100) / 10;
  const find = (problems: readonly GatewayProblem[], headline: string): GatewayProblem | undefined =>
    problems.find((one) => one.problem === problem && says.test(textOf(`${headline}\n${one.title}`, one)));
  while (performance.now() - began < PATIENCE_MS) {
    const shown = gateway.page && find(gateway.page.problems, gateway.page.headline.title);
    if (shown !== undefined && seen.page === undefined) {
      seen.page = now();
      seen.headline = gateway.page?.headline.title ?? '';
      seen.words = `${shown.text} ${shown.nextStep}`;
    }
    // The page is told. To ask costs the gateway more than all else: it makes all metrics each time.
    const isAsked = HAS_TABLE || seen.page !== undefined;
    if (isAsked && seen.status === undefined) {
      const [, json = '{}'] = /^200 (.*)/s.exec(await gateway.ask('/status').catch(() => '')) ?? [];
      const { problems = [], headline } = JSON.parse(json);
      if (find(problems, headline?.title) !== undefined) seen.status = now();
    }
    if (isAsked && seen.metric === undefined) {
      const metrics = await gateway.ask('/metrics').catch(() => '');
      if (metrics.includes(`expressway_problem{problem="${problem}"} 1`)) seen.metric = now();
    }
    const isLogged =
      stage.log === 'stderr' ? /cannot be written: ENOSPC/.test(gateway.stderr) : gateway.logged(problem);
    if (isLogged && seen.log === undefined) seen.log = now();
    if ([seen.page, seen.status, seen.metric, seen.log].every((one) => one !== undefined)) return;
    await pause('until the next look everywhere', LOOK_EVERY_MS);
  }
  seen.words = JSON.stringify(gateway.page) + gateway.stdout.slice(-2_000) + gateway.stderr.slice(-1_000);
}

/** Stages what happens to one gateway. */
async function run(stages: readonly Stage[]): Promise<void> {
  const staging = new Staging();
  const all = stages.map((stage) => {
    const seen: Seen = { headline: '', words: '' };
    results.set(stage.failure, seen);
    return { stage, seen };
  });
  try {
    const [gateway, fails] = await prepareAll(stages, staging);
    await fails();
    await Promise.all(all.map(({ stage, seen }) => watch(stage, gateway, seen)));
  } catch (error) {
    for (const { seen } of all) seen.words = String(error);
  } finally {
    await staging.end();
  }
}

function table(): string {
  const cell = (seconds: number | undefined): string => (seconds === undefined ? 'never' : `${seconds.toFixed(1)} s`);
  const rows = [...results].map(([failure, { page, status, metric, log, headline, words }]) =>
    [failure, ...[page, status, metric, log].map(cell), headline, words].join(' | '),
  );
  return ['failure | page | /status | metric | log | headline | words', ...rows].join('\n');
}

beforeAll(async () => {
  const keyOf = ({ group, failure }: Stage): string => (HAS_TABLE ? failure : (group?.name ?? failure));
  const waiting = [...Map.groupBy(STAGES, keyOf).values()];
  const lane = async (): Promise<void> => {
    for (let stages = waiting.shift(); stages !== undefined; stages = waiting.shift()) await run(stages);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}, 300_000);

afterAll(() => {
  if (HAS_TABLE) process.stdout.write(`\n${table()}\n`);
});

describe('an operator sees on page, /status, metrics and log', () => {
  test.each(STAGES.map(({ failure }) => failure))('%s', (failure) => {
    const { words, ...seen } = results.get(failure) as Seen;
    expect({ ...seen, words }).toEqual({
      headline: expect.any(String),
      words,
      page: expect.any(Number),
      status: expect.any(Number),
      metric: expect.any(Number),
      log: expect.any(Number),
    });
  });
});

test('process warnings are lines of the log, and nothing stands between them', async () => {
  const gateway = await StagedGateway.start({ env: { BACKENDS: 'http://127.0.0.1:9' } });
  try {
    await ask(`${gateway.url}/staged/warn`);
    await until(() => gateway.stdout.includes('"code":"STAGED"'));
    const lines = gateway.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines).toContainEqual(
      expect.objectContaining({ level: 'warn', warning: 'StagedWarning', code: 'STAGED', msg: 'something is old' }),
    );
    expect(gateway.stderr).toBe('');
  } finally {
    await gateway.close();
  }
});
