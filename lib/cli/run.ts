import { closestWord } from '../core/closest-word.ts';
import { type Command, InputError, type Streams, UsageError } from './command.ts';
import { manifest } from './manifest.ts';

/** Loaded when they are called: otherwise each process of a gateway would load commands that it does not need. */
const COMMANDS: ReadonlyMap<string, () => Promise<Command>> = new Map([
  ['start', async () => (await import('./start/start.ts')).start],
  ['check', async () => (await import('./check/check.ts')).check],
  ['doctor', async () => (await import('./doctor/doctor.ts')).doctor],
  ['simulate', async () => (await import('./simulate/simulate.ts')).simulate],
]);

async function help(): Promise<string> {
  const commands: Command[] = [];
  for (const load of COMMANDS.values()) commands.push(await load());
  return `Usage: expressway <command> [options]

Commands:
${commands.map(({ name, summary }) => `  ${name.padEnd(10)} ${summary}`).join('\n')}

expressway <command> --help says more about one of them, with examples.
expressway --version prints the version.

Examples:
  expressway start --backend http://localhost:3000
  expressway check gateway.yaml GET https://api.example.com/users/42
  expressway doctor --env-file .env
  expressway simulate access.log --limit 100/1m
`;
}

/** Runs one command. @returns the exit code: 0; 1 for a failure or a finding; 2 for invalid arguments. */
export async function run(args: readonly string[], streams: Streams): Promise<0 | 1 | 2> {
  const [first, ...rest] = args;
  const { stdout, stderr } = streams;
  if (first === '--version' || first === '-v') {
    stdout.write(`${manifest().version}\n`);
    return 0;
  }
  const asksForHelp = first === '--help' || first === '-h' || first === 'help';
  const name = asksForHelp ? rest[0] : first;
  const command = await COMMANDS.get(name ?? '')?.();
  if (asksForHelp && name === undefined) {
    stdout.write(await help());
    return 0;
  }
  if (command === undefined) {
    stderr.write(name === undefined ? await help() : await unknown(name));
    return 2;
  }
  if (asksForHelp || rest.includes('--help') || rest.includes('-h')) {
    stdout.write(command.help);
    return 0;
  }
  try {
    return await command.run(rest, streams);
  } catch (error) {
    if (error instanceof UsageError) {
      stderr.write(`expressway ${command.name}: ${error.message}\nTry: expressway ${command.name} --help\n`);
      return 2;
    }
    if (error instanceof InputError) {
      stderr.write(`expressway ${command.name}: ${error.message}\n`);
      return 1;
    }
    throw error;
  }
}

async function unknown(name: string): Promise<string> {
  const meant = closestWord(name, [...COMMANDS.keys()]);
  const hint = meant === undefined ? '' : `Did you mean expressway ${meant}?\n`;
  return `expressway: there is no command ${JSON.stringify(name)}\n${hint}\n${await help()}`;
}
