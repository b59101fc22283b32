import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { run } from '../../lib/cli/run.ts';

// Runs one command after the other, each with the variables that it is given and no others.

export interface Call {
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

process.on('message', async ({ args, env }: Call) => {
  for (const name of Object.keys(process.env)) delete process.env[name];
  Object.assign(process.env, env);
  const [stdout, stderr] = [new PassThrough(), new PassThrough()];
  // A process warning belongs to what a user reads.
  const warn = (warning: Error) => stderr.write(`${warning.stack}\n`);
  process.on('warning', warn);
  const [out, err] = [text(stdout), text(stderr)];
  const code = await run(args, { stdin: process.stdin, stdout, stderr });
  await new Promise<void>((resolve) => void setImmediate(resolve));
  process.off('warning', warn);
  stdout.end();
  stderr.end();
  process.send?.({ code, out: await out, err: await err });
});
