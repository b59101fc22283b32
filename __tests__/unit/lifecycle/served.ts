import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { connect as connectPlain, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { type GracefulShutdown, type GracefulShutdownOptions, gracefulShutdown } from 'expressway';
import { certificate } from '../../support/certificate.ts';
import { listen } from '../../support/servers.ts';

export interface Served {
  readonly server: Server;
  readonly shutdown: GracefulShutdown;
  readonly port: number;
  readonly url: string;
}

const served: Server[] = [];

/** A server of its own with a shutdown that leaves the signals alone. */
export async function serve(handler: RequestListener, options: GracefulShutdownOptions = {}): Promise<Served> {
  return serveOn(createServer(handler), options);
}

export async function serveTls(handler: RequestListener, options: GracefulShutdownOptions = {}): Promise<Served> {
  return serveOn(createTlsServer(certificate, handler), options);
}

async function serveOn(server: Server, options: GracefulShutdownOptions): Promise<Served> {
  const shutdown = gracefulShutdown(server, { signals: [], ...options });
  const { port, url } = await listen(() => {}, server);
  served.push(server);
  return { server, shutdown, port, url };
}

/** On a Unix socket, with a way to connect to it in the plain. */
export async function serveTlsOnUnixSocket(options: GracefulShutdownOptions) {
  const server = createTlsServer(certificate);
  const shutdown = gracefulShutdown(server, { signals: [], ...options });
  const folder = mkdtempSync(join(tmpdir(), 'expressway-socket-'));
  const path = join(folder, 's');
  server.listen(path);
  await once(server, 'listening');
  served.push(server);
  server.once('close', () => rmSync(folder, { recursive: true, force: true }));
  return {
    shutdown,
    async connect(): Promise<Socket> {
      const socket = connectPlain(path);
      await Promise.all([once(server, 'connection'), once(socket, 'connect')]);
      return socket.on('error', () => {});
    },
  };
}

/** A TLS connection, agreed on. */
export async function secured(port: number): Promise<TLSSocket> {
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
  socket.on('error', () => {});
  await new Promise((resolve) => socket.once('secureConnect', resolve));
  return socket;
}

/** For `afterEach`. */
export function closeServed(): void {
  for (const server of served.splice(0)) {
    server.close();
    server.closeAllConnections();
  }
}
