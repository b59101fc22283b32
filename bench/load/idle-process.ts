import { serveParent } from '../harness/child-side.ts';
import { IdleConnection } from './idle-connection.ts';

export interface IdleStart {
  readonly port: number;
  readonly count: number;
}

export interface IdleCount {
  readonly open: number;
  readonly errors: number;
  readonly firstError: string | undefined;
}

/** New ones at a time: enough to be quick, too few to overrun the queue of those not accepted yet. */
const AT_A_TIME = 64;
const PER_ADDRESS = 500;

let connections: IdleConnection[] = [];
let errors = 0;
let firstError: string | undefined;

async function open({ port, count }: IdleStart): Promise<IdleCount> {
  close();
  errors = 0;
  firstError = undefined;
  const openNext = async (): Promise<void> => {
    while (connections.length < count) {
      const index = connections.length;
      const connection = new IdleConnection(port, `127.0.1.${1 + Math.floor(index / PER_ADDRESS)}`, index);
      connections.push(connection);
      try {
        await connection.answered();
      } catch (error) {
        errors += 1;
        firstError ??= (error as Error).message;
      }
    }
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, openNext));
  return state();
}

function state(): IdleCount {
  return { open: connections.filter(({ isOpen }) => isOpen).length, errors, firstError };
}

function close(): void {
  for (const connection of connections) connection.close();
  connections = [];
}

serveParent({}, { open, state, close });
