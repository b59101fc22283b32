import { type Cleanup, proxyGateway } from './gateway.ts';
import { RecorderBackend, type Script } from './recorder-backend.ts';

/** The proxy before one backend that does what its script says. */
export async function recordedGateway(script: Script, cleanup: Cleanup) {
  const backend = cleanup.add(await RecorderBackend.start(script));
  const gateway = cleanup.add(await proxyGateway({ backends: [backend.url] }));
  return { backend, ...gateway };
}
