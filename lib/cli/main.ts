#!/usr/bin/env node
import cluster from 'node:cluster';
import { isSupportedNode, leastNode } from './manifest.ts';

process.stdout.on('error', ({ code, message }: NodeJS.ErrnoException) => {
  // The reader of the output may close it early, as `head` does.
  if (code === 'EPIPE') process.exit(0);
  process.stderr.write(`expressway: the output cannot be written: ${message}\n`);
  process.exit(1);
});
// The exit code still says how the command ended.
process.stderr.on('error', () => {});

if (process.argv[2] === 'start') {
  // Supervisors may send a signal to all processes of a gateway, also to one that still loads the program. A reload has nothing to do then: the
  // start reads the configuration anyway. A worker leaves all signals to its primary.
  const ignored: readonly NodeJS.Signals[] = ['SIGHUP', 'SIGUSR2'];
  for (const signal of [...ignored, ...(cluster.isWorker ? (['SIGTERM', 'SIGINT'] as const) : [])]) {
    process.on(signal, () => {});
  }
}

const { node } = process.versions;
if (isSupportedNode(node)) {
  // Loaded only now: an older Node cannot load it, and its own error message would not help.
  const { run } = await import('./run.ts');
  process.exitCode = await run(process.argv.slice(2), process);
} else {
  process.stderr.write(`expressway needs Node ${leastNode()} or newer; this is ${node}\n`);
  process.exitCode = 1;
}
