import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { serveParent, usage } from '../harness/child-side.ts';
import { BackendConnection } from './backend-connection.ts';

/** What the process announces: one origin per backend. */
export interface BackendsReady {
  readonly origins: readonly string[];
}

const count = Number(process.argv[2] ?? 2);
const served = new Array<number>(count).fill(0);

// All in one process: with one core for the whole load side, every process switch is taken from the load.
const origins = await Promise.all(
  served.map(async (_, index) => {
    const server = createServer((socket) => {
      new BackendConnection(socket, () => {
        served[index] = (served[index] ?? 0) + 1;
      });
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }),
);

serveParent({ origins } satisfies BackendsReady, { usage: () => ({ ...usage(), served }) });
