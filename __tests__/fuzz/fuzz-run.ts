import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BACKEND_CORPUS } from './backend-corpus.ts';
import { type BackendCase, BackendSide } from './backend-side.ts';
import { CLIENT_CORPUS } from './client-corpus.ts';
import { type ClientCase, ClientSide } from './client-side.ts';
import { mutate, slices } from './mutations.ts';
import { SeededRandom } from './random.ts';
import { readRegressions, type Side } from './regressions.ts';
import { Rig } from './rig.ts';

export interface FuzzPlan {
  readonly side: Side;
  readonly seed: number;
  readonly cases: number;
  /** Run that one case of the seed alone. */
  readonly only?: number;
  /** Stop after so many findings. */
  readonly mostFindings: number;
}

export const say = (text: string) => process.stdout.write(`${text}\n`);

/** Findings of one kind are written out so many times. */
const EXAMPLES = 3;

const CLIENT_WAYS: readonly Omit<ClientCase, 'slices'>[] = [
  { aborts: false, fresh: true },
  { aborts: true, fresh: false },
];
const BACKEND_WAYS: readonly Omit<BackendCase, 'slices'>[] = (['end', 'reset', 'keep'] as const).flatMap((after) =>
  (['GET', 'HEAD', 'POST'] as const).map((method) => ({ after, method, version: '1.1' as const, fresh: true })),
);

/** Runs a plan; tells whether nothing was found. */
export async function fuzz(plan: FuzzPlan): Promise<boolean> {
  const { side, seed, cases, only, mostFindings } = plan;
  const rig = await Rig.start();
  const run = new FuzzRun(side, rig);
  const started = performance.now();
  let done = 0;
  if (only === undefined) {
    const replayed = await run.replay();
    say(`${side} side: ${replayed} entries of the corpus replayed, ${run.findings} findings`);
    for (; done < cases && run.findings < mostFindings; done++) await run.mutated(seed, done);
  } else {
    await run.mutated(seed, only);
    done = 1;
  }
  const leftOver = await rig.close();
  for (const problem of leftOver) say(`FINDING at the end: ${problem}`);
  const perSecond = Math.round(done / ((performance.now() - started) / 1_000));
  say(`${side} side: seed ${seed}, ${done} cases, ${perSecond}/s, ${run.findings} findings`);
  return run.findings === 0 && leftOver.length === 0;
}

class FuzzRun {
  findings = 0;
  readonly #side: Side;
  readonly #runClient: (one: ClientCase) => Promise<string[]>;
  readonly #runBackend: (one: BackendCase) => Promise<string[]>;
  readonly #corpus: readonly (readonly [string, Buffer])[];
  readonly #examples = new Map<string, number>();

  constructor(side: Side, rig: Rig) {
    const client = new ClientSide(rig);
    const backend = new BackendSide(rig);
    this.#side = side;
    this.#runClient = (one) => client.run(one);
    this.#runBackend = (one) => backend.run(one);
    const corpus = side === 'client' ? CLIENT_CORPUS : BACKEND_CORPUS;
    this.#corpus = corpus.map(([id, text]) => [id, Buffer.from(text, 'latin1')] as const);
  }

  /** The corpus and the findings of the past, unchanged, in every way in which a case may go. */
  async replay(): Promise<number> {
    const past = readRegressions(this.#side).map(({ name, bytes }) => [name, Buffer.from(bytes, 'latin1')] as const);
    for (const [id, bytes] of [...this.#corpus, ...past]) {
      if (this.#side === 'client')
        for (const way of CLIENT_WAYS) await this.#client(id, bytes, { slices: [bytes], ...way });
      else for (const way of BACKEND_WAYS) await this.#backend(id, bytes, { slices: [bytes], ...way });
    }
    return this.#corpus.length + past.length;
  }

  async mutated(seed: number, index: number): Promise<void> {
    const random = SeededRandom.ofCase(seed, index);
    const corpus = this.#corpus.map(([, bytes]) => bytes);
    const bytes = mutate(random.pick(corpus), random, corpus);
    const name = `--side ${this.#side} --seed ${seed} --only ${index}`;
    const pieces = slices(bytes, random);
    const fresh = random.chance(8);
    if (this.#side === 'client') {
      await this.#client(name, bytes, { slices: pieces, fresh, aborts: random.chance(12) });
      return;
    }
    await this.#backend(name, bytes, {
      slices: pieces,
      fresh,
      after: random.pick(['end', 'end', 'end', 'reset', 'keep'] as const),
      method: random.pick(['GET', 'GET', 'POST', 'HEAD'] as const),
      version: random.chance(8) ? '1.0' : '1.1',
    });
  }

  async #client(name: string, bytes: Buffer, one: ClientCase): Promise<void> {
    const shape = `${one.slices.length} pieces${one.aborts ? ', the client breaks off' : ''}`;
    this.#note(name, bytes, shape, await this.#runClient(one));
  }

  async #backend(name: string, bytes: Buffer, one: BackendCase): Promise<void> {
    const shape = `${one.method} HTTP/${one.version}, ${one.slices.length} pieces, then ${one.after}`;
    this.#note(name, bytes, shape, await this.#runBackend(one));
  }

  #note(name: string, bytes: Buffer, shape: string, problems: readonly string[]): void {
    if (problems.length === 0) return;
    this.findings += 1;
    const kind = problems.map((problem) => problem.replace(/[\d"].*/s, '')).join();
    const times = (this.#examples.get(kind) ?? 0) + 1;
    this.#examples.set(kind, times);
    if (times > EXAMPLES) return;
    const file = join(tmpdir(), `expressway-fuzz-${process.pid}-${this.findings}.json`);
    const text = bytes.toString('latin1');
    writeFileSync(file, JSON.stringify({ side: this.#side, why: problems.join('; '), bytes: text }, undefined, 2));
    say(`FINDING ${name} (${shape})`);
    for (const problem of problems) say(`  ${problem}`);
    say(`  ${JSON.stringify(text.slice(0, 600))}\n  bytes in ${file}`);
  }
}
