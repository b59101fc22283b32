import { closestWord } from '../core/closest-word.ts';
import { check } from './check/check.ts';
import { type Command, InputError, type Streams, UsageError } from './command.ts';
import { doctor } from './doctor/doctor.ts';
import { manifest } from './manifest.ts';
import { simulate } from './simulate/simulate.ts';
import { start } from './start/start.ts';

const COMMANDS: readonly Command[] = [start, check, doctor, simulate];
const NAMES = COMMANDS.map(({ name }) => name);

const HELP = `Usage: expressway <command> [options]

Commands:
${COMMANDS.map(({ name, summary }) => `  ${name.padEnd(10)} ${summary}`).join('\n')}

expressway <command> --help says more about one of them, with examples.
expressway --version prints the version.

Examples:
  expressway start --backend http://localhost:3000
  expressway check gateway.yaml GET https://api.example.com/users/42
  expressway doctor --env-file .env
  expressway simulate access.log --limit 100/1m
`;

/** Runs one command; gives the exit code: 0, 1 for what went or is wrong, 2 for a wrong call. */
export async function run(args: readonly string[], streams: Streams): Promise<0 | 1 | 2> {
  const [first, ...rest] = args;
  const { stdout, stderr } = streams;
  if (first === '--version' || first === '-v') {
    stdout.write(`${manifest().version}\n`);
    return 0;
  }
  const asksForHelp = first === '--help' || first === '-h' || first === 'help';
  const name = asksForHelp ? rest[0] : first;
  const command = COMMANDS.find((one) => one.name === name);
  if (asksForHelp && name === undefined) {
    stdout.write(HELP);
    return 0;
  }
  if (command === undefined) {
    stderr.write(name === undefined ? HELP : unknown(name));
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

function unknown(name: string): string {
  const meant = closestWord(name, NAMES);
  const hint = meant === undefined ? '' : `Did you mean expressway ${meant}?\n`;
  return `expressway: there is no command ${JSON.stringify(name)}\n${hint}\n${HELP}`;
}
