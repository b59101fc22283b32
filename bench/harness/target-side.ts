import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { serveParent } from './child-side.ts';
import type { Profiler } from './profiler.ts';

const NODE_KEEP_ALIVE_MS = 5_000;
const KEEP_ALIVE_MS = 65_000;

/** Origins of the backends, as the harness gave them. */
export function backendOrigins(args = process.argv.slice(2)): string[] {
  const origins = [...args];
  if (origins.length === 0) throw new Error('give the origins of the backends as arguments');
  return origins;
}

/**
 * Listens on a free port of loopback and tells the harness.
 *
 * @param admin Listens for health checks.
 */
export async function serveTarget(server: Server, admin?: Server): Promise<void> {
  // Node's 5 s would end idle connections while they are counted. Servers that were given another time keep it.
  if (server.keepAliveTimeout === NODE_KEEP_ALIVE_MS) server.keepAliveTimeout = KEEP_ALIVE_MS;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  if (admin !== undefined) await once(admin.listen(0, '127.0.0.1'), 'listening');
  announceTarget(server, admin);
}

/** For a framework that listens by itself. */
export function announceTarget(server: Server, admin?: Server): void {
  let profiler: Profiler | undefined;
  serveParent(
    { port: portOf(server), adminPort: admin && portOf(admin) },
    {
      // Loaded only when asked for, as below: this is no part of what is measured.
      memory: async () => (await import('./settled-memory.ts')).settledMemory(),
      startProfile: async () => {
        profiler = new (await import('./profiler.ts')).Profiler();
        await profiler.start();
      },
      stopProfile: (file: string) => profiler?.stop(file),
    },
  );
}

const portOf = (server: Server): number => (server.address() as AddressInfo).port;
