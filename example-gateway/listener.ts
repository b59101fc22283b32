import type { Server } from 'node:http';
import { Server as TlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { StartError } from './start-error.ts';

/** A listener that could not be opened. */
export class ListenError extends StartError {}

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'the port is in use',
  EACCES: 'this user may not use the port',
  EADDRNOTAVAIL: 'this machine has no such address',
  ENOTFOUND: 'the host name is unknown',
};

/**
 * @param what names the listener in an error, like "gateway".
 * @returns the URL to reach it from this machine.
 * @throws {ListenError}
 */
export async function listen(server: Server, what: string, address: { host: string; port: number }): Promise<string> {
  const { host, port } = address;
  await new Promise<void>((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException): void => {
      const reason = REASONS[error.code ?? ''] ?? error.message;
      reject(new ListenError([`The ${what} cannot listen on ${authority(host, port)}: ${reason}`], { cause: error }));
    };
    server.once('error', failed);
    server.listen(port, host, () => {
      server.off('error', failed);
      resolve();
    });
  });
  const bound = server.address() as AddressInfo;
  const reachable = bound.address === '0.0.0.0' || bound.address === '::' ? 'localhost' : bound.address;
  const scheme = server instanceof TlsServer ? 'https' : 'http';
  return `${scheme}://${authority(reachable, bound.port)}`;
}

const authority = (host: string, port: number): string => `${host.includes(':') ? `[${host}]` : host}:${port}`;
