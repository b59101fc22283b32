/**
 * Mutation tester: changes one operator, condition, literal or block of `lib` at a time, and runs the tests that reach it.
 * `node --conditions=expressway-source bench/mutation/tester.ts lib/proxy --minutes 60`; `bench/README.md` lists the options.
 */

import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { inTempFolder } from '../harness/temp-folder.ts';
import { filesOf, instrument, type Mutant } from './sandbox.ts';
import { SuiteProcess } from './suite-process.ts';

interface Test {
  readonly suite: string;
  readonly number: number;
  readonly ms: number;
  /** By file: how many cheaper tests reach the same mutants of it. */
  readonly alike: Map<string, number>;
  /** Files of the mutants that it has killed. */
  readonly kills: string[];
}

/** What one suite reaches without a mutant. */
interface Recording {
  readonly suite: string;
  /** Hash of the mutants and of the suite: after a change of either, it is recorded anew. */
  readonly code: string;
  readonly tests: readonly { readonly number: number; readonly ms: number; readonly reached: readonly string[] }[];
  readonly atLoad: readonly string[];
}

type Outcome = 'killed' | 'survived' | 'unreached';
type Live = Map<string, SuiteProcess>;

/** Processes that each lane keeps, one for each suite. */
const MAX_LIVE = 45;
/** What a process costs until its suite is loaded. */
const LOADING_MS = 2_000;
/** Suites that are loaded anew for a mutant that is reached while the code is loaded. */
const MAX_LOADED = 3;
/** False failures after which a suite is not used any more. */
const MOST_FALSE_FAILURES = 5;
/** For a suite that runs without a mutant for the first time. */
const MAX_SILENCE_MS = 120_000;
/** What a process may take to load its suite. After that and the limit of its slowest test, it is in an endless loop. */
const MAX_LOADING_MS = 20_000;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    suites: { type: 'string', default: '__tests__/unit,__tests__/integration' },
    only: { type: 'string', default: '' },
    seed: { type: 'string', default: '1' },
    minutes: { type: 'string' },
    lanes: { type: 'string', default: '3' },
    recording: { type: 'string' },
    cover: { type: 'string' },
    survivors: { type: 'string' },
    'test-seconds': { type: 'string', default: '8' },
  },
});

const print = (line: string) => void process.stdout.write(`${line}\n`);
const progress = (line: string) => void process.stderr.write(`${line}\n`);

class Tester {
  readonly #folder: string;
  readonly #mutants: string;
  readonly #fileOf: ReadonlyMap<string, string>;
  readonly #reaching = new Map<string, Test[]>();
  readonly #reachingAtLoad = new Map<string, string[]>();
  /** Suites whose tests fail without a mutant when they run again in their process, by how often they did. */
  readonly #unrepeatable = new Map<string, number>();
  /** By file and suite: the mutants of the file that tests of the suite reach, and those tests. */
  readonly #ofFile = new Map<string, Map<string, { readonly ids: Set<string>; readonly tests: Set<Test> }>>();
  constructor(folder: string, mutants: readonly Mutant[]) {
    this.#folder = folder;
    this.#mutants = mutants.map(({ text }) => text).join('\n');
    this.#fileOf = new Map(mutants.map(({ id, file }) => [id, file]));
  }

  /** What a suite reaches without a mutant. */
  async record(suite: string): Promise<Recording> {
    const process = new SuiteProcess(this.#folder, suite);
    const report = await process.obey({ mutant: '' }, MAX_SILENCE_MS);
    process.kill();
    const tests = [...(report?.recorded.entries() ?? [])]
      .filter(([, { passed }]) => passed)
      .map(([number, { ms, reached }]) => ({ number, ms, reached: [...new Set(reached)] }));
    progress(`${suite}: ${tests.length} of ${report?.recorded.length ?? 0} tests can be used`);
    return { suite, code: this.codeOf(suite), tests, atLoad: report?.atLoad ?? [] };
  }

  codeOf(suite: string): string {
    return createHash('sha256').update(this.#mutants).update(readFileSync(suite)).digest('hex');
  }

  use(recordings: readonly Recording[]): void {
    const recorded = recordings.flatMap(({ suite, tests }) => tests.map((test) => ({ ...test, suite })));
    const ofSameReach = new Map<string, number>();
    for (const { suite, number, ms, reached } of recorded.sort((one, other) => one.ms - other.ms)) {
      const test: Test = { suite, number, ms, alike: new Map(), kills: [] };
      for (const [file, ids] of Map.groupBy(reached, (id) => this.#fileOf.get(id) ?? '')) {
        const same = `${file} ${ids.sort()}`;
        const alike = ofSameReach.get(same) ?? 0;
        ofSameReach.set(same, alike + 1);
        test.alike.set(file, alike);
        const suites = upsert(this.#ofFile, file, new Map());
        const ofSuite = upsert(suites, suite, { ids: new Set<string>(), tests: new Set<Test>() });
        ofSuite.tests.add(test);
        for (const id of ids) {
          push(this.#reaching, id, test);
          ofSuite.ids.add(id);
        }
      }
    }
    for (const { suite, atLoad } of recordings) for (const id of atLoad) push(this.#reachingAtLoad, id, suite);
  }

  /** @param live Processes of this lane, by suite; the one that was used last comes last. */
  async outcomeOf({ id, file }: Mutant, live: Live): Promise<Outcome> {
    const bySuite = Map.groupBy(this.#chosen(id, file), ({ suite }) => suite);
    for (const [suite, tests] of [...bySuite].slice(0, MAX_LIVE)) {
      if ((this.#unrepeatable.get(suite) ?? 0) >= MOST_FALSE_FAILURES) continue;
      const killer = await this.#killer(id, suite, tests, live);
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

  /**
   * The cheapest first, and those that have killed other mutants of the file. Tests that reach the same mutants as cheaper ones come
   * later: a table of a thousand tests would take all the time, and what only a slow test notices would count as survived.
   */
  #chosen(id: string, file: string): Test[] {
    const worth = ({ alike, kills, ms }: Test) =>
      (kills.filter((other) => other === file).length + 0.2 / (1 + (alike.get(file) ?? 0))) / (ms + 30);
    let left = Number(values['test-seconds']) * 1_000;
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
  async #killer(id: string, suite: string, tests: readonly Test[], live: Live): Promise<Test | 'hang' | undefined> {
    for (let left = tests; left.length > 0; ) {
      const failed = await failing(this.#process(suite, live), id, left);
      if (typeof failed !== 'object') return failed;
      if ((await failing(this.#process(suite, live), '', [failed])) === undefined) return failed;
      live.get(suite)?.kill();
      if ((await failing(this.#process(suite, live), id, [failed])) !== undefined) return failed;
      const count = (this.#unrepeatable.get(suite) ?? 0) + 1;
      this.#unrepeatable.set(suite, count);
      if (count === MOST_FALSE_FAILURES)
        progress(`${suite} is not used any more: its tests fail when they are repeated`);
      if (count >= MOST_FALSE_FAILURES) return undefined;
      // A suite runs in the order of its numbers, and stops at a failure.
      left = left.filter(({ number }) => number > failed.number);
    }
    return undefined;
  }

  #process(suite: string, live: Live): SuiteProcess {
    const kept = live.get(suite);
    const process = kept?.isAlive === true ? kept : new SuiteProcess(this.#folder, suite);
    live.delete(suite);
    live.set(suite, process);
    const [oldest = suite] = live.keys();
    if (live.size > MAX_LIVE) {
      live.get(oldest)?.kill();
      live.delete(oldest);
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
  const slowestMs = Math.max(...order.tests.map(({ limitMs }) => limitMs));
  const report = await process.obey(order, MAX_LOADING_MS + slowestMs);
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

/** Runs `work` for each item, several at a time; each lane has processes of its own. */
async function inLanes<T>(items: readonly T[], work: (item: T, live: Live) => Promise<void>): Promise<void> {
  const left = items.values();
  const lane = async (live: Live): Promise<void> => {
    for (const item of left) await work(item, live);
    for (const process of live.values()) process.kill();
  };
  await Promise.all(Array.from({ length: Number(values.lanes) }, () => lane(new Map())));
}

/** The cheapest suites that together reach each mutant once, then twice, and so on; no more than a lane can keep loaded. */
function covering(recordings: readonly Recording[], mutants: readonly Mutant[], times: number): Recording[] {
  const reachedBy = new Map(mutants.map(({ id }) => [id, 0]));
  const left = new Map(
    recordings.map((recording) => [recording, new Set(recording.tests.flatMap(({ reached }) => reached))]),
  );
  const costMs = ({ tests }: Recording) => LOADING_MS + tests.reduce((sum, { ms }) => sum + ms, 0);
  const chosen: Recording[] = [];
  for (let round = 1; round <= times && chosen.length < MAX_LIVE; ) {
    let best: Recording | undefined;
    let most = 0;
    for (const [recording, ids] of left) {
      const worth = [...ids].filter((id) => (reachedBy.get(id) ?? round) < round).length / costMs(recording);
      if (worth > most) [best, most] = [recording, worth];
    }
    if (best === undefined) {
      round += 1;
      continue;
    }
    for (const id of left.get(best)!) reachedBy.set(id, (reachedBy.get(id) ?? 0) + 1);
    left.delete(best);
    chosen.push(best);
  }
  return chosen;
}

/** Of all suites: from the file of an earlier run if nothing has changed since, or by running them. */
async function recordings(tester: Tester): Promise<Recording[]> {
  const { recording: file, suites } = values;
  const wanted = filesOf(...suites.split(',')).filter((path) => path.endsWith('.test.ts'));
  const kept: Recording[] = file === undefined || !existsSync(file) ? [] : JSON.parse(readFileSync(file, 'utf8'));
  const made = kept.filter(({ suite, code }) => wanted.includes(suite) && code === tester.codeOf(suite));
  const left = wanted.filter((path) => made.every(({ suite }) => suite !== path));
  await inLanes(left, async (suite) => void made.push(await tester.record(suite)));
  if (file !== undefined && left.length > 0) {
    const others = kept.filter(({ suite }) => made.every((one) => one.suite !== suite));
    writeFileSync(file, JSON.stringify([...others, ...made]));
  }
  return made;
}

async function test(folder: string): Promise<void> {
  const files = filesOf(...positionals).filter((path) => path.endsWith('.ts') && !path.endsWith('.d.ts'));
  const all = await instrument(folder, files);
  const { only, survivors } = values;
  const earlier = survivors === undefined ? undefined : readFileSync(survivors, 'utf8').split('\n');
  const pattern = new RegExp(only);
  const isWanted = ({ text }: Mutant) =>
    pattern.test(text) && (earlier?.includes(`${'survived'.padEnd(9)} ${text}`) ?? true);
  const mutants = all.filter(isWanted);
  progress(`${mutants.length} mutants in ${files.length} files`);
  const tester = new Tester(folder, all);
  const recorded = await recordings(tester);
  const used = values.cover === undefined ? recorded : covering(recorded, mutants, Number(values.cover));
  progress(`${used.length} of ${recorded.length} suites`);
  tester.use(used);
  const end = Date.now() + Number(values.minutes ?? Number.POSITIVE_INFINITY) * 60_000;
  const scores = new Map<string, Outcome[]>();
  // The mutants of one file reach the same suites, which stay loaded then.
  await inLanes(values.minutes === undefined ? mutants : shuffled(mutants), async (mutant, live) => {
    if (Date.now() > end) return;
    const outcome = await tester.outcomeOf(mutant, live);
    print(`${outcome.padEnd(9)} ${mutant.text}`);
    push(scores, dirname(mutant.file), outcome);
  });
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
