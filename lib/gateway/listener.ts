import type { Server } from 'node:http';
import { Server as TlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { StartError } from './start-error.ts';

/** A listener that could not be opened. */
export class ListenError extends StartError {}

/** The reason, and the part of the address that is wrong. */
const REASONS: Readonly<Record<string, readonly ['host' | 'port', string]>> = {
  EADDRINUSE: ['port', 'the port is in use'],
  EACCES: ['port', 'this user may not use the port'],
  EADDRNOTAVAIL: ['host', 'this machine has no such address'],
  ENOTFOUND: ['host', 'the host name is unknown'],
};

/** Name of a listener in errors, and the variables of its address. */
export interface ListenerName {
  readonly what: string;
  readonly host: string;
  readonly port: string;
}

export const GATEWAY: ListenerName = { what: 'gateway', host: 'HOST', port: 'PORT' };
export const REDIRECT: ListenerName = { what: 'redirect to https', host: 'HOST', port: 'HTTP_REDIRECT_PORT' };
export const ADMIN: ListenerName = { what: 'admin listener', host: 'ADMIN_HOST', port: 'ADMIN_PORT' };

/**
 * @returns the URL to reach it from this machine.
 * @throws {ListenError} that names the variable to change.
 */
export async function listen(
  server: Server,
  name: ListenerName,
  address: { host: string; port: number },
): Promise<string> {
  const { host, port } = address;
  await new Promise<void>((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException): void => {
      const [part, reason] = REASONS[error.code ?? ''] ?? [undefined, error.message];
      const variable = part === undefined ? '' : `${name[part]}: `;
      const problem = `${variable}the ${name.what} cannot listen on ${authority(host, port)}: ${reason}`;
      reject(new ListenError([problem], { cause: error }));
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
