import { parseArgs } from 'node:util';
import { fuzz, say } from './fuzz-run.ts';
import type { Side } from './regressions.ts';

const USAGE = `npm run fuzz -- [--side client|backend|both] [--seed N] [--cases N] [--only N] [--findings N]

  --side      whose bytes are mutated                      both
  --seed      the same seed gives the same cases           of the clock
  --cases     number of cases per side                     20000
  --only      run that one case of the seed
  --findings  stop after so many                           20
`;

const SIDES: readonly Side[] = ['client', 'backend'];

const { values } = parseArgs({
  options: {
    side: { type: 'string', default: 'both' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    cases: { type: 'string', default: '20000' },
    only: { type: 'string' },
    findings: { type: 'string', default: '20' },
    help: { type: 'boolean', default: false },
  },
});

const sides = SIDES.filter((side) => values.side === 'both' || values.side === side);
if (values.help || sides.length === 0) {
  say(USAGE);
  process.exitCode = values.help ? 0 : 2;
} else {
  const only = values.only === undefined ? {} : { only: Number(values.only) };
  const numbers = { seed: Number(values.seed), cases: Number(values.cases), mostFindings: Number(values.findings) };
  let good = true;
  for (const side of sides) good = (await fuzz({ side, ...numbers, ...only })) && good;
  // Not by itself, when a connection is left over.
  process.exit(good ? 0 : 1);
}
