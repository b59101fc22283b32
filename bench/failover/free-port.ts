import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';

/** Below the ports that systems give to outgoing connections: one of those could take the port of a dead backend. */
const FIRST = 20_000;
const COUNT = 10_000;
const TRIES = 50;

/** A port of loopback on which nobody listens now. */
export async function freePort(): Promise<number> {
  for (let i = 0; i < TRIES; i += 1) {
    const server = createServer();
    try {
      server.listen(FIRST + Math.floor(Math.random() * COUNT), '127.0.0.1');
      await once(server, 'listening');
    } catch {
      continue;
    }
    const { port } = server.address() as AddressInfo;
    server.close();
    await once(server, 'close');
    return port;
  }
  throw new Error(`no free port in ${TRIES} tries`);
}
