import { isIP } from 'node:net';
import { buildConnector, Client } from 'undici';
import type { Backend } from '../../backends/backend.ts';
import type { Probe, ProbeAnswer, ProbeOptions } from '../../backends/health/health-check.ts';
import type { TryConnection } from '../../backends/health/return-watch.ts';
import { type BackendTlsOptions, connectorTls } from './backend-tls.ts';
import { backendConnector } from './connections.ts';
import { failureCause } from './failure.ts';

/** Bytes of an answer's content that are read; a check looks at no more. */
const MAX_CONTENT = 65_536;

/**
 * Asks a backend over a connection that is made for it and closed after: the check takes nothing from the traffic,
 * never waits behind it, and sees whether connections can still be made.
 *
 * @param tls As for the traffic: a backend that passes must be one that the traffic can reach.
 */
export const healthProbe =
  (tls: BackendTlsOptions = {}): Probe =>
  (backend, options) =>
    probe(backend, options, tls);

/** Connects to a backend as the traffic would, TLS included, and closes the connection without a request. */
export function connectionProbe(tls: BackendTlsOptions = {}, timeoutMs: number): TryConnection {
  const connect = buildConnector({ ...connectorTls(tls), timeout: timeoutMs, allowH2: false });
  return ({ url: { hostname, protocol, port }, serverName }) =>
    new Promise((resolve) => {
      connect({ hostname, protocol, port, ...proofOf(tls.serverName ?? serverName) }, (error, socket) => {
        socket?.destroy();
        resolve(error === null ? undefined : failureCause(error, false));
      });
    });
}

/** An address is proved as such, and never sent as the name asked for (RFC 6066 §3). */
const proofOf = (name: string) => (isIP(name.replace(/^\[(.*)\]$/, '$1')) ? {} : { servername: name });

async function probe(
  { origin, authority, serverName }: Backend,
  { path, timeoutMs, signal }: ProbeOptions,
  tls: BackendTlsOptions,
): Promise<ProbeAnswer | Error> {
  const client = new Client(origin, {
    pipelining: 0,
    allowH2: false,
    // The signal ends the rest; an attempt to connect does not hear it, and would go on for minutes.
    connect: backendConnector(tls, timeoutMs),
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  const abort = (): void => void client.destroy(signal.reason);
  signal.addEventListener('abort', abort);
  try {
    const headers = { host: authority, 'user-agent': 'expressway-health-check' };
    const proof = proofOf(tls.serverName ?? serverName);
    const { statusCode, body } = await client.request({ path, method: 'GET', headers, reset: true, ...proof });
    return { status: statusCode, content: await beginning(body) } satisfies ProbeAnswer;
  } catch (error) {
    return error as Error;
  } finally {
    signal.removeEventListener('abort', abort);
    void client.destroy();
  }
}

async function beginning(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes >= MAX_CONTENT) break;
  }
  return Buffer.concat(chunks).subarray(0, MAX_CONTENT).toString();
}
