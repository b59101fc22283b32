import { listen } from '../backends/listen.ts';
import { serveParent } from '../harness/child-side.ts';
import { runPaced } from './paced-run.ts';

// Backends and load in one process: the load never sleeps, and two processes on one core would wait for each other's time
// slices, which are longer than what is measured.

const { origins } = await listen(Number(process.argv[2] ?? 2), 'small');

serveParent({ origins }, { run: runPaced });
