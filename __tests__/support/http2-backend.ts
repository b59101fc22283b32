import {
  createSecureServer,
  createServer,
  type Http2SecureServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type ServerOptions,
} from 'node:http2';
import type { AddressInfo } from 'node:net';
import { certificate } from './certificate.ts';

export type OnStream = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;

/** A backend that speaks HTTP/2 and nothing else, in clear text ("h2c") unless `secure`. */
export class Http2Backend {
  readonly sessions: ServerHttp2Session[] = [];
  /** Requests that it got. */
  requests = 0;
  port = 0;
  readonly #server: Http2Server | Http2SecureServer;
  readonly #isSecure: boolean;

  private constructor(onStream: OnStream, secure: boolean, options: ServerOptions) {
    this.#isSecure = secure;
    this.#server = secure ? createSecureServer({ ...certificate, ...options }) : createServer(options);
    this.#server.on('session', (session: ServerHttp2Session) => {
      this.sessions.push(session);
      session.on('error', () => {});
    });
    this.#server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
      this.requests += 1;
      stream.on('error', () => {});
      onStream(stream, headers);
    });
  }

  static async start(
    onStream: OnStream,
    { secure = false, port = 0, ...options }: ServerOptions & { secure?: boolean; port?: number } = {},
  ) {
    const backend = new Http2Backend(onStream, secure, options);
    await new Promise<void>((resolve) => backend.#server.listen(port, '127.0.0.1', resolve));
    backend.port = (backend.#server.address() as AddressInfo).port;
    return backend;
  }

  get url(): string {
    return `${this.#isSecure ? 'https' : 'http'}://127.0.0.1:${this.port}`;
  }

  async close(): Promise<void> {
    for (const session of this.sessions) session.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** Responds with content and trailers, like a backend of gRPC. */
export function respondWithTrailers(stream: ServerHttp2Stream, content: Buffer | string, status = '0'): void {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': status, 'x-sum': 'ok' }));
  stream.end(content);
}

/** A response that is one head ("Trailers-Only"). */
export function respondWithStatus(stream: ServerHttp2Stream, status: string): void {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': status }, { endStream: true });
}
