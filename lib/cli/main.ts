#!/usr/bin/env node
import { isSupportedNode, leastNode } from './manifest.ts';

// The reader of the output may close it early, as `head` does.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});

const { node } = process.versions;
if (isSupportedNode(node)) {
  // Loaded only now: an older Node cannot load it, and its own error message would not help.
  const { run } = await import('./run.ts');
  process.exitCode = await run(process.argv.slice(2), process);
} else {
  process.stderr.write(`expressway needs Node ${leastNode()} or newer; this is ${node}\n`);
  process.exitCode = 1;
}
