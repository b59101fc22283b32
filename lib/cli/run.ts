import { type Command, InputError, type Streams, UsageError } from './command.ts';
import { simulate } from './simulate/simulate.ts';

const COMMANDS: readonly Command[] = [simulate];

const HELP = `Usage: expressway <command> [options]

Commands:
${COMMANDS.map(({ name, summary }) => `  ${name.padEnd(10)} ${summary}`).join('\n')}

expressway <command> --help says more about one of them.
`;

/** Runs one command; gives the exit code: 0, 1 for input that cannot be read, 2 for a wrong call. */
export async function run(args: readonly string[], streams: Streams): Promise<0 | 1 | 2> {
  const [name, ...rest] = args;
  const { stdout, stderr } = streams;
  if (name === '--help' || name === '-h' || name === 'help') {
    stdout.write(HELP);
    return 0;
  }
  const command = COMMANDS.find((one) => one.name === name);
  if (command === undefined) {
    stderr.write(name === undefined ? HELP : `expressway: there is no command ${JSON.stringify(name)}\n\n${HELP}`);
    return 2;
  }
  if (rest.includes('--help') || rest.includes('-h')) {
    stdout.write(command.help);
    return 0;
  }
  try {
    await command.run(rest, streams);
    return 0;
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
