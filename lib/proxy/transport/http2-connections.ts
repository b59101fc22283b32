import type { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import type { Connections, RequestConnection, ResponseHandler } from './connections.ts';
import { Http2Connection, type Http2ConnectionOptions } from './http2-connection.ts';
import { Http2Request, http2Head } from './http2-request.ts';
import { errors } from './undici.ts';

export interface Http2ConnectionsOptions extends Omit<Http2ConnectionOptions, 'origin'> {
  readonly origin: string;
  readonly keepAlive: boolean;
}

/**
 * The HTTP/2 connections to one backend: one, unless more requests are in progress than the backend allows. They use Node's own client,
 * because undici loses bytes of a response with trailers when the client reads slowly (docs/decisions/0092).
 */
export class Http2Connections implements Connections {
  readonly keepAlive: boolean;
  /** Names are in lower case in HTTP/2. */
  readonly spelling = undefined;
  readonly #options: Http2ConnectionsOptions;
  readonly #origin: URL;
  readonly #all = new Set<Http2Connection>();
  #closed = false;

  constructor(options: Http2ConnectionsOptions) {
    this.#options = options;
    this.#origin = new URL(options.origin);
    this.keepAlive = options.keepAlive;
  }

  dispatch(options: Dispatcher.DispatchOptions, handler: ResponseHandler): RequestConnection | undefined {
    if (this.#closed) {
      handler.onResponseError(null, new errors.ClientClosedError());
      return undefined;
    }
    let head: ReturnType<typeof http2Head>;
    try {
      head = http2Head(this.#origin, options);
    } catch (error) {
      handler.onResponseError(null, error as Error);
      return undefined;
    }
    return this.#send(new Http2Request(head, options.body as Readable | Buffer | null, handler));
  }

  get isSecure(): boolean {
    return this.#origin.protocol === 'https:';
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(
      [...this.#all].map((connection) => {
        connection.retire();
        return connection.ended;
      }),
    );
  }

  async destroy(error: Error): Promise<void> {
    this.#closed = true;
    await Promise.all(
      [...this.#all].map((connection) => {
        connection.destroy(error);
        return connection.ended;
      }),
    );
  }

  #send(request: Http2Request): Http2Connection {
    const connection = this.#withRoom() ?? this.#open();
    connection.send(request);
    if (!this.keepAlive || this.#closed) connection.retire();
    return connection;
  }

  #withRoom(): Http2Connection | undefined {
    for (const connection of this.#all) if (connection.hasRoom) return connection;
    return undefined;
  }

  #open(): Http2Connection {
    const connection = new Http2Connection({ ...this.#options, origin: this.#origin }, (request) =>
      this.#send(request),
    );
    this.#all.add(connection);
    void connection.ended.then(() => this.#all.delete(connection));
    return connection;
  }
}
