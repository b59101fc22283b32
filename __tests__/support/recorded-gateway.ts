import type { Server } from 'node:http';
import type { Express } from 'express';
import { type Cleanup, proxyGateway } from './gateway.ts';
import { RecorderBackend, type Script } from './recorder-backend.ts';

/** The proxy before one backend that does what its script says. */
export async function recordedGateway(script: Script, cleanup: Cleanup, serverOf?: (app: Express) => Server) {
  const backend = cleanup.add(await RecorderBackend.start(script));
  const gateway = cleanup.add(await proxyGateway({ backends: [backend.url] }, undefined, serverOf));
  return { backend, ...gateway };
}
