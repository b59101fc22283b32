import { listen } from '../backends/listen.ts';
import { serveParent } from '../harness/child-side.ts';
import { runClosed, runOpen } from './open-run.ts';

// Backends and load in one process, as in paced-process.ts.

const { origins } = await listen(Number(process.argv[2] ?? 2), 'small');

serveParent({ origins }, { run: runOpen, saturate: runClosed });
