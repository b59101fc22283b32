import { once } from 'node:events';
import { connect, isIP, type Socket } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { request } from '../../core/node-http.ts';

/** Code of a connection that a backend closes after the handshake of TLS. */
export const REFUSED = 'REFUSED';
/** Milliseconds in which a backend may still refuse our certificate. */
const VERDICT_MS = 500;

export interface BackendProbeOptions {
  /** Options of `tls.connect()` for backends over https: trusted authorities, and our own certificate. */
  readonly tls: object;
  /** The name that the certificate must be for, if it is not the host of the URL. */
  readonly name: string | undefined;
  /** Headers of the request. */
  readonly headers: Readonly<Record<string, string>>;
  readonly connectTimeoutMs: number;
  /** Path of the request; without it, nothing is sent. */
  readonly path: string | undefined;
  readonly responseTimeoutMs: number;
}

/** What a test connection to a backend has shown. */
export interface ProbeResult {
  /** Milliseconds until the connection was made, including TLS. */
  readonly connectMs: number;
  /** When its certificate expires, over https. */
  readonly validTo: string | undefined;
  /** Status of the response, if a request was sent. */
  readonly status: number | undefined;
  readonly responseMs: number;
}

/** Which step failed. */
export class ProbeError extends Error {
  readonly step: 'connect' | 'answer';
  readonly code: string;

  constructor(step: 'connect' | 'answer', cause: Error) {
    super(cause.message, { cause });
    this.step = step;
    // For a name with several addresses, the error contains one error for each.
    const [first = cause] = cause instanceof AggregateError ? (cause.errors as Error[]) : [];
    this.code = cause.name === 'AbortError' ? 'ETIMEDOUT' : ((first as NodeJS.ErrnoException).code ?? '');
  }
}

/** @throws {ProbeError} */
export async function probeBackend(url: URL, options: BackendProbeOptions): Promise<ProbeResult> {
  const startedAt = performance.now();
  const socket = open(url, options);
  try {
    const secure = url.protocol === 'https:';
    await step('connect', once(socket, secure ? 'secureConnect' : 'connect', within(options.connectTimeoutMs)));
    const connectMs = performance.now() - startedAt;
    const validTo = secure ? (socket as TLSSocket).getPeerCertificate().valid_to : undefined;
    if (options.path === undefined) {
      if (secure) await step('connect', accepted(socket as TLSSocket));
      return { connectMs, validTo, status: undefined, responseMs: 0 };
    }
    const askedAt = performance.now();
    const status = await step('answer', ask(socket, options.path, options));
    return { connectMs, validTo, status, responseMs: performance.now() - askedAt };
  } finally {
    socket.destroy();
  }
}

function open(url: URL, { tls, name }: BackendProbeOptions): Socket {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80));
  if (url.protocol !== 'https:') return connect({ host, port });
  const servername = name ?? host;
  // A certificate may be for an address, but an address is never sent as SNI (RFC 6066 §3).
  return connectTls({ host, port, ...tls, ...(isIP(servername) > 0 ? {} : { servername }) });
}

/**
 * With TLS 1.3, a backend that refuses our certificate says so, or closes, only after our side of the handshake is complete. A session ticket
 * shows that the backend has completed its own; some backends send none.
 */
async function accepted(socket: TLSSocket): Promise<void> {
  if (socket.getProtocol() !== 'TLSv1.3') return;
  const verdict = within(VERDICT_MS);
  const closed = once(socket, 'close', verdict).then(() => {
    throw Object.assign(new Error('it closed the connection after the handshake of TLS'), { code: REFUSED });
  });
  try {
    await Promise.race([once(socket, 'session', verdict), closed]);
  } catch (error) {
    if ((error as Error).name !== 'AbortError') throw error;
  }
}

async function ask(
  socket: Socket,
  path: string,
  { headers: own, responseTimeoutMs }: BackendProbeOptions,
): Promise<number> {
  const headers = { connection: 'close', ...own };
  const asked = request({ createConnection: () => socket, path, headers });
  // Errors after the head do not matter, but without a listener they would end the process.
  asked.on('error', () => {});
  asked.end();
  const [answer] = (await once(asked, 'response', within(responseTimeoutMs))) as [{ statusCode: number }];
  return answer.statusCode;
}

const within = (timeoutMs: number) => ({ signal: AbortSignal.timeout(timeoutMs) });

async function step<T>(name: 'connect' | 'answer', work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw new ProbeError(name, error as Error);
  }
}
