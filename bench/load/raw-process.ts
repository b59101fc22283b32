import { serveParent } from '../harness/child-side.ts';
import type { SizedExchange } from '../harness/sized.ts';
import { RawConnection } from './raw-connection.ts';
import type { Tally } from './retrying-socket.ts';
import { SizedConnection } from './sized-connection.ts';

export interface RawStart {
  readonly port: number;
  readonly connections: number;
  /** After this the load stops by itself, whatever became of the parent. */
  readonly atMostSeconds: number;
  /** Whether the right answer to each request is a 429. */
  readonly refuses: boolean;
  /** What is asked, when it is not a GET of a small answer. */
  readonly exchange: SizedExchange | undefined;
}

export interface RawSample {
  readonly requests: number;
  readonly errors: number;
  readonly firstError: string | undefined;
  /** Connections without an answer since the last sample. */
  readonly stuck: number;
  /** Connections that have had no answer at all. */
  readonly unanswered: number;
  /** Milliseconds of a monotonic clock. */
  readonly at: number;
}

interface Load {
  readonly tally: Tally;
  readonly connections: readonly (RawConnection | SizedConnection)[];
  readonly seen: number[];
  readonly limit: NodeJS.Timeout;
}

let load: Load | undefined;

function start({ port, connections, atMostSeconds, refuses, exchange }: RawStart): void {
  stop();
  const tally: Tally = { requests: 0, errors: 0, firstError: undefined, sent: 0 };
  load = {
    tally,
    connections: Array.from({ length: connections }, () =>
      exchange === undefined ? new RawConnection(port, tally, refuses) : new SizedConnection(port, tally, exchange),
    ),
    seen: new Array<number>(connections).fill(0),
    limit: setTimeout(stop, atMostSeconds * 1000),
  };
}

function sample(): RawSample {
  if (load === undefined) throw new Error('no load under way');
  const { tally, connections, seen } = load;
  let stuck = 0;
  for (const [index, connection] of connections.entries()) {
    if (connection.answered === seen[index]) stuck++;
    seen[index] = connection.answered;
  }
  const { requests, errors, firstError } = tally;
  return { requests, errors, firstError, stuck, unanswered: unanswered(), at: performance.now() };
}

function unanswered(): number {
  if (load === undefined) throw new Error('no load under way');
  let count = 0;
  for (const connection of load.connections) if (connection.answered === 0) count++;
  return count;
}

function stop(): void {
  if (load === undefined) return;
  clearTimeout(load.limit);
  for (const connection of load.connections) connection.close();
  load = undefined;
}

serveParent({}, { start, unanswered, sample, stop });
