/**
 * Mutation tester: changes one operator, condition, literal or block of `lib` at a time, and runs the tests that reach it.
 * `node --conditions=expressway-source bench/mutation/tester.ts lib/proxy --minutes 60`; `bench/README.md` lists the options.
 */

import { createHash } from 'node:crypto';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { inTempFolder } from '../harness/temp-folder.ts';
import { filesOf, instrument, type Mutant } from './sandbox.ts';
import { SuiteProcess } from './suite-process.ts';

interface Test {
  readonly suite: string;
  readonly number: number;
  readonly ms: number;
  /** Files of the mutants that it has killed. */
  readonly kills: string[];
}

type Outcome = 'killed' | 'survived' | 'unreached';

/** Processes that are kept, one for each suite. */
const MAX_LIVE = 20;
/** Most time of tests for one mutant, and most suites. */
const MAX_TEST_MS = 20_000;
const MAX_SUITES = 40;
/** Suites that are loaded anew for a mutant that is reached while the code is loaded. */
const MAX_LOADED = 5;
/** For endless loops that do not reach the mutant. */
const MAX_SILENCE_MS = 120_000;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    suites: { type: 'string', default: '__tests__/unit,__tests__/integration' },
    only: { type: 'string', default: '' },
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string', default: '600' },
  },
});

const print = (line: string) => void process.stdout.write(`${line}\n`);
const progress = (line: string) => void process.stderr.write(`${line}\n`);

class Tester {
  readonly #folder: string;
  readonly #fileOf: ReadonlyMap<string, string>;
  readonly #reaching = new Map<string, Test[]>();
  readonly #reachingAtLoad = new Map<string, string[]>();
  /** By file and suite: the mutants of the file that tests of the suite reach, and those tests. */
  readonly #ofFile = new Map<string, Map<string, { readonly ids: Set<string>; readonly tests: Set<Test> }>>();
  /** By suite; the one that was used last comes last. */
  readonly #live = new Map<string, SuiteProcess>();

  constructor(folder: string, mutants: readonly Mutant[]) {
    this.#folder = folder;
    this.#fileOf = new Map(mutants.map(({ id, file }) => [id, file]));
  }

  async record(suite: string): Promise<void> {
    const process = new SuiteProcess(this.#folder, suite);
    const report = await process.obey({ mutant: '' }, MAX_SILENCE_MS);
    process.kill();
    let usable = 0;
    for (const [number, { passed, ms, reached }] of report?.recorded.entries() ?? []) {
      if (!passed) continue;
      const test = { suite, number, ms, kills: [] };
      usable += 1;
      for (const id of new Set(reached)) {
        push(this.#reaching, id, test);
        const suites = upsert(this.#ofFile, this.#fileOf.get(id) ?? '', new Map());
        const { ids, tests } = upsert(suites, suite, { ids: new Set<string>(), tests: new Set<Test>() });
        ids.add(id);
        tests.add(test);
      }
    }
    for (const id of report?.atLoad ?? []) push(this.#reachingAtLoad, id, suite);
    progress(`${suite}: ${usable} of ${report?.recorded.length ?? 0} tests can be used`);
  }

  async outcomeOf({ id, file }: Mutant): Promise<Outcome> {
    const bySuite = Map.groupBy(this.#chosen(id, file), ({ suite }) => suite);
    for (const [suite, tests] of [...bySuite].slice(0, MAX_SUITES)) {
      const killer = await this.#killer(id, suite, tests);
      if (typeof killer === 'object') killer.kills.push(file);
      if (killer !== undefined) return 'killed';
    }
    const loaded = this.#loaded(id, file);
    for (const tests of loaded) {
      const process = new SuiteProcess(this.#folder, tests[0]!.suite, id);
      const killer = await failing(process, id, tests);
      process.kill();
      if (killer !== undefined) return 'killed';
    }
    return bySuite.size + loaded.length > 0 ? 'survived' : 'unreached';
  }

  /** For a mutant that is reached while the code is loaded: tests by suite, those first that reach most of the file. */
  #loaded(id: string, file: string): Test[][] {
    const suites = new Set(this.#reachingAtLoad.get(id));
    return [...(this.#ofFile.get(file) ?? [])]
      .filter(([suite]) => suites.has(suite))
      .map(([, { ids, tests }]) => ({ tests: [...tests], worth: ids.size / (1000 + sumOf([...tests])) }))
      .sort((one, other) => other.worth - one.worth)
      .slice(0, MAX_LOADED)
      .map(({ tests }) => tests);
  }

  /** The cheapest first, and those that have killed other mutants of the file. */
  #chosen(id: string, file: string): Test[] {
    const worth = ({ kills, ms }: Test) => (kills.filter((other) => other === file).length + 0.2) / (ms + 30);
    let left = MAX_TEST_MS;
    return (this.#reaching.get(id) ?? [])
      .map((test) => ({ test, worth: worth(test) }))
      .sort((one, other) => other.worth - one.worth)
      .map(({ test }) => test)
      .filter(({ ms }) => {
        left -= ms + 5;
        return left + ms > 0;
      });
  }

  /** A failure counts if the test passes without the mutant: in the same process, or else the failure is repeated in a new one. */
  async #killer(id: string, suite: string, tests: readonly Test[]): Promise<Test | 'hang' | undefined> {
    for (let left = tests; left.length > 0; ) {
      const failed = await failing(this.#process(suite), id, left);
      if (typeof failed !== 'object') return failed;
      if ((await failing(this.#process(suite), '', [failed])) === undefined) return failed;
      this.#live.get(suite)?.kill();
      if ((await failing(this.#process(suite), id, [failed])) !== undefined) return failed;
      // A suite runs in the order of its numbers, and stops at a failure.
      left = left.filter(({ number }) => number > failed.number);
    }
    return undefined;
  }

  #process(suite: string): SuiteProcess {
    const kept = this.#live.get(suite);
    const process = kept?.isAlive === true ? kept : new SuiteProcess(this.#folder, suite);
    this.#live.delete(suite);
    this.#live.set(suite, process);
    const [oldest = suite] = this.#live.keys();
    if (this.#live.size > MAX_LIVE) {
      this.#live.get(oldest)?.kill();
      this.#live.delete(oldest);
    }
    return process;
  }
}

/** The test that fails with the mutant, if any. */
async function failing(
  process: SuiteProcess,
  mutant: string,
  tests: readonly Test[],
): Promise<Test | 'hang' | undefined> {
  const order = { mutant, tests: tests.map(({ number, ms }) => ({ number, limitMs: 5000 + 6 * ms })) };
  const report = await process.obey(order, MAX_SILENCE_MS);
  return report === undefined || report.isHung ? 'hang' : tests.find(({ number }) => number === report.failed);
}

const push = <K, V>(map: Map<K, V[]>, key: K, value: V) => void (map.get(key)?.push(value) ?? map.set(key, [value]));
function upsert<K, V>(map: Map<K, V>, key: K, initial: V): V {
  const value = map.get(key) ?? initial;
  map.set(key, value);
  return value;
}

const sumOf = (tests: readonly Test[]): number => tests.reduce((sum, { ms }) => sum + ms, 0);

/** Each file's mutants shuffled, and the files mixed evenly: whatever part of the list is run is a sample of each file. */
function shuffled(mutants: readonly Mutant[]): Mutant[] {
  const hash = ({ text }: Mutant) => createHash('sha256').update(`${values.seed} ${text}`).digest('hex');
  const ranked = [...Map.groupBy(mutants, ({ file }) => file).values()].flatMap((ofFile) =>
    ofFile
      .map((mutant) => ({ mutant, key: hash(mutant) }))
      .sort((one, other) => one.key.localeCompare(other.key))
      .map(({ mutant }, i) => ({ mutant, share: (i + 0.5) / ofFile.length })),
  );
  return ranked.sort((one, other) => one.share - other.share).map(({ mutant }) => mutant);
}

async function test(folder: string): Promise<void> {
  const files = filesOf(...positionals).filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts'));
  const all = await instrument(folder, files);
  const mutants = all.filter(({ text }) => text.includes(values.only));
  progress(`${mutants.length} mutants in ${files.length} files`);
  const tester = new Tester(folder, all);
  for (const suite of filesOf(...values.suites.split(','))) if (suite.endsWith('.test.ts')) await tester.record(suite);
  const end = Date.now() + Number(values.minutes) * 60_000;
  const scores = new Map<string, Outcome[]>();
  for (const mutant of shuffled(mutants)) {
    if (Date.now() > end) break;
    const outcome = await tester.outcomeOf(mutant);
    print(`${outcome.padEnd(9)} ${mutant.text}`);
    push(scores, dirname(mutant.file), outcome);
  }
  SuiteProcess.killAll();
  for (const [name, outcomes] of scores) {
    const { length } = mutants.filter(({ file }) => dirname(file) === name);
    const killed = outcomes.filter((outcome) => outcome === 'killed').length;
    const share = ((100 * killed) / outcomes.length).toFixed(1);
    print(`${name}: ${outcomes.length} of ${length} mutants run, ${killed} killed (${share} %)`);
  }
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
process.once('exit', () => SuiteProcess.killAll());
await inTempFolder(test);
