import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { connect } from 'node:net';
import { eventually as eventuallyWithin } from '../../lib/testing/eventually.ts';
import { pause } from './pause.ts';

/** As users have it, with more patience: several suites run at once, and what is waited for may be in another process. */
export function eventually(what: string, condition: () => unknown, deadlineMs = 90_000): Promise<void> {
  return eventuallyWithin(what, condition, deadlineMs);
}

export interface RunningServer {
  readonly server: Server;
  readonly port: number;
  readonly url: string;
  close(): Promise<void>;
}

/** Node's default for `keepAliveTimeout`, in milliseconds. A busy machine takes longer than that between two requests of a test. */
const NODE_KEEP_ALIVE_MS = 5_000;

/** Listens on a free port of the loopback interface. Idle connections stay open for a minute, unless the server has its own timeout. */
export async function listen(listener: RequestListener, server = createServer(listener)): Promise<RunningServer> {
  if (server.keepAliveTimeout === NODE_KEEP_ALIVE_MS) server.keepAliveTimeout = 60_000;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    server,
    port,
    url: `http://127.0.0.1:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** From here on up to what systems hand out for port 0: Linux begins that at 32768, others at 49152. */
const FIRST_PORT = 10_240;
const PORTS_PER_WORKER = 1_400;
let nextPort = Math.floor(Math.random() * PORTS_PER_WORKER);

/**
 * A port on which nothing listens: connecting is refused, until a test uses it. Other suites run at the same time, each
 * with ports of its own, and what they open on port 0 is not among them.
 */
export async function closedPort(): Promise<number> {
  const worker = Number(process.env.JEST_WORKER_ID ?? 1) % 16;
  for (;;) {
    const port = FIRST_PORT + worker * PORTS_PER_WORKER + (nextPort++ % PORTS_PER_WORKER);
    if (await isFree(port)) return port;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(false);
      else reject(error);
    });
    server.listen(port, () => server.close(() => resolve(true)));
  });
}

/** Whether a TCP connection can be made. */
export async function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}

/** Waits until a number that was more than 0 has stopped changing. */
export async function standsStill(what: string, read: () => number): Promise<number> {
  let last = 0;
  await eventually(what, async () => {
    const before = last;
    await pause('what can move moves meanwhile', 150);
    last = read();
    return last > 0 && last === before;
  });
  return last;
}
