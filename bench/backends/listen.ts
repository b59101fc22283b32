import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { BackendConnection } from './backend-connection.ts';
import { SizedBackendConnection } from './sized-backend-connection.ts';

/** What backends answer: about 130 bytes of JSON, or as much as they are asked for. */
export type BackendKind = 'small' | 'sized';

export interface Listening {
  readonly origins: readonly string[];
  /** Answers so far, per backend. */
  readonly served: readonly number[];
}

/** Backends on ports of their own, all in this process. */
export async function listen(count: number, kind: BackendKind): Promise<Listening> {
  const Connection = kind === 'sized' ? SizedBackendConnection : BackendConnection;
  const served = new Array<number>(count).fill(0);
  const origins = await Promise.all(
    served.map(async (_, index) => {
      const server = createServer((socket) => {
        new Connection(socket, () => {
          served[index] = (served[index] ?? 0) + 1;
        });
      });
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    }),
  );
  return { origins, served };
}
