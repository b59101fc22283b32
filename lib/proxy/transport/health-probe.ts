import type { Backend } from '../../backends/backend.ts';
import type { Probe, ProbeAnswer, ProbeOptions } from '../../backends/health/health-check.ts';
import type { TryConnection } from '../../backends/health/return-watch.ts';
import { type BackendProtocol, backendConnector } from './all-connections.ts';
import { type BackendTlsOptions, connectorTls, proofOf } from './backend-tls.ts';
import { failureCause } from './failure.ts';
import { Http2Connections } from './http2-connections.ts';
import { checkHeaders, http2Probe } from './http2-probe.ts';
import { buildConnector, Client, request } from './undici.ts';

/** Bytes of a response body that a check reads. */
const MAX_BODY = 65_536;

/**
 * Sends a health check over a connection of its own, which is closed afterwards. So a check never waits behind client requests, and
 * finds out whether the backend still accepts connections.
 *
 * @param tls The same as for client requests: a backend that passes must be reachable for those.
 */
export const healthProbe =
  (tls: BackendTlsOptions = {}, protocol: BackendProtocol = 'http1'): Probe =>
  (backend, options) =>
    protocol === 'http2' ? probeHttp2(backend, options, tls) : probe(backend, options, tls);

/** Connects to a backend as for a client request, TLS included, and closes the connection without a request. */
export function connectionProbe(tls: BackendTlsOptions, timeoutMs: number, protocol: BackendProtocol): TryConnection {
  const isHttp2 = protocol === 'http2';
  const connect = buildConnector({ ...connectorTls(tls), timeout: timeoutMs, allowH2: isHttp2, preferH2: isHttp2 });
  return ({ url: { hostname, protocol, port }, serverName }) =>
    new Promise((resolve) => {
      connect({ hostname, protocol, port, ...proofOf(tls.serverName ?? serverName) }, (error, socket) => {
        socket?.destroy();
        resolve(error === null ? undefined : failureCause(error, false));
      });
    });
}

async function probe(
  { origin, authority, serverName }: Backend,
  { path, headers: given, timeoutMs, signal }: ProbeOptions,
  tls: BackendTlsOptions,
): Promise<ProbeAnswer | Error> {
  const client = new Client(origin, {
    pipelining: 0,
    // The signal does not end an attempt to connect, which could go on for minutes.
    connect: backendConnector(tls, timeoutMs, 'http1'),
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  const abort = (): void => void client.destroy(signal.reason);
  signal.addEventListener('abort', abort);
  try {
    const headers = checkHeaders(authority, given);
    const proof = proofOf(tls.serverName ?? serverName);
    const { statusCode, body } = await request(client, { path, method: 'GET', headers, reset: true, ...proof });
    return { status: statusCode, content: await beginning(body) } satisfies ProbeAnswer;
  } catch (error) {
    return error as Error;
  } finally {
    signal.removeEventListener('abort', abort);
    void client.destroy();
  }
}

async function probeHttp2(
  backend: Backend,
  options: ProbeOptions,
  tls: BackendTlsOptions,
): Promise<ProbeAnswer | Error> {
  const { timeoutMs } = options;
  const connections = new Http2Connections({
    origin: backend.origin,
    connect: backendConnector(tls, timeoutMs, 'http2'),
    connectTimeoutMs: timeoutMs,
    serverName: tls.serverName ?? backend.serverName,
    keepAlive: false,
  });
  try {
    return await http2Probe(connections, backend, options, MAX_BODY);
  } finally {
    void connections.destroy(new Error('the health check is over'));
  }
}

async function beginning(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes >= MAX_BODY) break;
  }
  return Buffer.concat(chunks).subarray(0, MAX_BODY).toString();
}
