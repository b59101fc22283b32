import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '../../lib/cli/run.ts';
import { ROOT } from './pages.ts';

const manifestOf = (folder: string) => JSON.parse(readFileSync(join(ROOT, folder, 'package.json'), 'utf8'));
const manifest = manifestOf('.');
const SCRIPTS = new Set(Object.keys(manifest.scripts));
const PACKAGES = new Set([
  manifest.name,
  ...[manifest, manifestOf('__tests__'), manifestOf('__tests__/applications')].flatMap(
    ({ dependencies, peerDependencies, devDependencies }) =>
      Object.keys({ ...dependencies, ...peerDependencies, ...devDependencies }),
  ),
]);
/** Of the machine of a reader, not of this package. */
const PROGRAMS = new Set(['curl', 'docker', 'git', 'kubectl', 'bash', 'cat', 'echo', 'brew', 'apt-get', 'sudo']);

/** Commands as the shell would begin them: by lines, `&&` and `|`, without comments and assignments before them. */
export function commandsOf(script: string): string[][] {
  return script
    .replace(/\\\n/g, ' ')
    .split('\n')
    .map((line) => line.replace(/(?:^|\s)#.*$/, '').trim())
    .filter((line) => line !== '')
    .flatMap((line) => line.split(/ (?:&&|\|\|?|;) /))
    .map((command) => command.trim().split(/\s+/))
    .map((words) => words.slice(words.findIndex((word) => !/^[A-Z_]+=/.test(word))));
}

/** What is wrong with a command, or nothing. */
export async function commandProblem([program = '', ...words]: readonly string[]): Promise<string | undefined> {
  if (program === 'npm') return npmProblem(words);
  if (program === 'npx') return npxProblem(words);
  if (program === 'cp') return missing(words.slice(0, -1));
  if (program === 'node') return missing(words.filter((word) => /^[\w-]+\/.*\.[jt]s$/.test(word)));
  if (program === 'bash') return missing(words.slice(0, 1));
  return PROGRAMS.has(program) ? undefined : `${program} is a program that nobody knows`;
}

const missing = (files: readonly string[]) =>
  files.filter((file) => !existsSync(join(ROOT, file))).map((file) => `there is no ${file}`)[0];

function npmProblem([command = '', ...words]: readonly string[]): string | undefined {
  if (command === 'run') return SCRIPTS.has(words[0] ?? '') ? undefined : `there is no script ${words[0]}`;
  if (command === 'test' || command === 'start') return SCRIPTS.has(command) ? undefined : `no script ${command}`;
  if (command === 'install') return packageProblem(words.filter((word) => !word.startsWith('-')));
  return ['ci', 'pack', 'audit', 'version'].includes(command) ? undefined : `npm ${command} is not known`;
}

const packageProblem = (names: readonly string[]) =>
  names.filter((name) => !PACKAGES.has(name)).map((name) => `${name} is no package that is known here`)[0];

/** `npx -p package … expressway command --flag`: each flag must be in the help of the command. */
async function npxProblem(words: readonly string[]): Promise<string | undefined> {
  const at = words.findIndex((word, index) => word === 'expressway' && words[index - 1] !== '-p');
  if (at === -1) return `npx ${words[0]} is not known`;
  const [command = '', ...rest] = words.slice(at + 1);
  const unknown = packageProblem(words.slice(0, at).filter((word) => word !== '-p'));
  if (unknown !== undefined) return unknown;
  const written: string[] = [];
  const stdout = { write: (text: string) => written.push(text) } as unknown as NodeJS.WritableStream;
  const code = await run(command.startsWith('-') ? [command] : [command, '--help'], {
    stdin: process.stdin,
    stdout,
    stderr: stdout,
  });
  if (code !== 0) return `there is no command ${command}`;
  const flags = rest.filter((word) => word.startsWith('--')).map((flag) => flag.replace(/=.*/, ''));
  return flags.filter((flag) => !written.join('').includes(flag)).map((flag) => `${command} has no ${flag}`)[0];
}
