/**
 * Releases a version: looks at the tree, runs all checks, then tags, pushes and publishes. A dry run unless it is told
 * otherwise: it checks all the same, and prints what it would do.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { changelogSection, releaseProblems } from './release-checks.ts';

const HELP = `usage: npm run release -- VERSION [--execute]

Refuses a tree with changes, another branch than main, a version that package.json, package-lock.json or
CHANGELOG.md does not have, a tag that exists, and a check that fails. Then prints what it would do, and with
--execute does it.

  npm run release -- 0.2.0            look, check, print
  npm run release -- 0.2.0 --execute  look, check, tag, push, publish
`;

/** In this order; the first that fails ends the release. */
const CHECKS = [
  ['bash', '.ci/run'],
  ['npm', 'run', 'audit'],
] as const;

/** A push that is refused, because somebody else was faster, must come before what nobody can take back. */
const acts = (version: string) =>
  [
    ['git', 'tag', '--annotate', `v${version}`, '--message', `Expressway ${version}`],
    ['git', 'push', '--atomic', 'origin', 'HEAD', `v${version}`],
    ['npm', 'publish', ...(version.includes('-') ? ['--tag', 'next'] : [])],
  ] as const;

const say = (text: string) => process.stdout.write(`${text}\n`);
const shown = (command: readonly string[]) => command.map((word) => (/\s/.test(word) ? `'${word}'` : word)).join(' ');

function succeeds([name, ...args]: readonly string[], folder: string): boolean {
  const { status, error } = spawnSync(name as string, args, { cwd: folder, stdio: 'inherit' });
  if (error !== undefined) throw error;
  return status === 0;
}

/** Says what the problems are; whether there are any. */
function refused(problems: readonly string[]): boolean {
  for (const problem of problems) process.stderr.write(`refused: ${problem}\n`);
  return problems.length > 0;
}

function release(folder: string, version: string, execute: boolean): number {
  if (refused(releaseProblems({ folder, version }))) return 1;
  for (const command of CHECKS) {
    say(`check: ${shown(command)}`);
    if (!succeeds(command, folder) && refused([`${shown(command)} failed`])) return 1;
  }
  // What the checks leave behind would be published.
  if (refused(releaseProblems({ folder, version }))) return 1;
  say(`\n${version}:\n\n${changelogSection(readFileSync(join(folder, 'CHANGELOG.md'), 'utf8'), version)}\n`);
  const commands = acts(version);
  for (const [index, command] of commands.entries()) {
    say(`${execute ? 'run' : 'would run'}: ${shown(command)}`);
    if (!execute || succeeds(command, folder)) continue;
    const left = commands.slice(index).map(shown).join('\n');
    process.stderr.write(`failed. What is still to be done:\n${left}\n`);
    return 1;
  }
  say(execute ? `released ${version}` : 'nothing was done: a dry run. --execute does it.');
  return 0;
}

function main(args: string[]): number {
  try {
    const { values, positionals } = parseArgs({
      args,
      allowPositionals: true,
      options: { execute: { type: 'boolean', default: false }, help: { type: 'boolean', default: false } },
    });
    const [version, ...others] = positionals;
    if (values.help) {
      say(HELP);
      return 0;
    }
    if (version !== undefined && others.length === 0) return release(process.cwd(), version, values.execute);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    process.stderr.write(`${error.message}\n`);
  }
  process.stderr.write(HELP);
  return 2;
}

process.exitCode = main(process.argv.slice(2));
