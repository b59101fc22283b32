import { serveParent, usage } from '../harness/child-side.ts';
import { type BackendKind, listen } from './listen.ts';

/** What the process announces: one origin per backend. */
export interface BackendsReady {
  readonly origins: readonly string[];
}

const [count = '2', kind = 'small'] = process.argv.slice(2);

// All in one process: with one core for the whole load side, every process switch is taken from the load.
const { origins, served } = await listen(Number(count), kind as BackendKind);

serveParent({ origins } satisfies BackendsReady, { usage: () => ({ ...usage(), served }) });
