import type { RequestListener, Server } from 'node:http';
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders,
  type SecureClientSessionOptions,
} from 'node:http2';
import type { Express } from 'express';
import { type HardenServerOptions, hardenServer, http2Server, type RoundRobinProxyOptions } from 'expressway';
import { certificate } from './certificate.ts';
import { proxyGateway, type TestGateway } from './gateway.ts';

/** The server of an app, with HTTP/2 and bounds. */
export const http2ServerOf =
  (bounds: HardenServerOptions = {}) =>
  (app: RequestListener): Server =>
    hardenServer(http2Server(app, { tls: certificate, ...(bounds.events && { events: bounds.events }) }), bounds);

/** The proxy alone, in an app on a server with HTTP/2. */
export function http2Gateway(
  options: RoundRobinProxyOptions,
  bounds: HardenServerOptions = {},
  prepare: (app: Express) => void = () => {},
): Promise<TestGateway> {
  return proxyGateway(options, prepare, http2ServerOf(bounds));
}

/** A response on a stream, and how the stream ended. */
export interface StreamResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly content: Buffer;
  readonly trailers: IncomingHttpHeaders | undefined;
  /** Status and headers of informational responses. */
  readonly informational: readonly IncomingHttpHeaders[];
  /** 0 for an orderly end. */
  readonly rstCode: number;
}

/** A client of one HTTP/2 connection. */
export class Http2Client {
  readonly session: ClientHttp2Session;
  /** Error codes of GOAWAY frames. */
  readonly goaways: number[] = [];

  constructor(port: number, tls: SecureClientSessionOptions = {}) {
    this.session = connect(`https://127.0.0.1:${port}`, { ca: certificate.cert, ...tls });
    this.session.on('error', () => {});
    this.session.on('goaway', (code) => this.goaways.push(code));
  }

  open(headers: OutgoingHttpHeaders, isWhole = true): ClientHttp2Stream {
    const stream = this.session.request({ ':path': '/', ...headers }, { endStream: isWhole });
    stream.on('error', () => {});
    return stream;
  }

  async request(headers: OutgoingHttpHeaders = {}, content?: string | Buffer): Promise<StreamResponse> {
    const stream = this.open(headers, content === undefined);
    if (content !== undefined) stream.end(content);
    return responseTo(stream);
  }

  async closed(): Promise<void> {
    if (!this.session.destroyed) await new Promise((resolve) => this.session.once('close', resolve));
  }

  close(): void {
    this.session.destroy();
  }
}

export async function responseTo(stream: ClientHttp2Stream): Promise<StreamResponse> {
  const parts: Buffer[] = [];
  const informational: IncomingHttpHeaders[] = [];
  let headers: IncomingHttpHeaders = {};
  let trailers: IncomingHttpHeaders | undefined;
  stream.on('headers', (one) => informational.push(one));
  stream.on('response', (one) => {
    headers = one;
  });
  stream.on('trailers', (one) => {
    trailers = one;
  });
  stream.on('data', (chunk: Buffer) => parts.push(chunk));
  await new Promise((resolve) => stream.once('close', resolve));
  const status = Number((headers as { ':status'?: number })[':status'] ?? 0);
  return { status, headers, content: Buffer.concat(parts), trailers, informational, rstCode: stream.rstCode ?? 0 };
}
