import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { serveParent } from './child-side.ts';
import type { Profiler } from './profiler.ts';

/** Origins of the backends, as the harness gave them. */
export function backendOrigins(): string[] {
  const origins = process.argv.slice(2);
  if (origins.length === 0) throw new Error('give the origins of the backends as arguments');
  return origins;
}

/** Listens on a free port of loopback and tells the harness. */
export async function serveTarget(server: Server): Promise<void> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  announceTarget(server);
}

/** For a framework that listens by itself. */
export function announceTarget(server: Server): void {
  let profiler: Profiler | undefined;
  serveParent(
    { port: (server.address() as AddressInfo).port },
    {
      startProfile: async () => {
        // Loaded only when asked for: the inspector is no part of what is measured.
        profiler = new (await import('./profiler.ts')).Profiler();
        await profiler.start();
      },
      stopProfile: (file: string) => profiler?.stop(file),
    },
  );
}
