#!/usr/bin/env node
import { run } from './run.ts';

// Whoever reads the output may have enough of it early, as `head` has.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});

process.exitCode = await run(process.argv.slice(2), process);
