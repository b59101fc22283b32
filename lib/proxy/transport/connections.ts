import type { Socket } from 'node:net';
import type { Dispatcher } from 'undici';
import type { HeaderSpelling } from '../response/header-spelling.ts';

/** Gets a response. Its error comes without a controller if the request was not taken. */
export type ResponseHandler = Dispatcher.DispatchHandler & {
  onResponseError(controller: Dispatcher.DispatchController | null, error: Error): void;
};

/** The connection that a request is on. */
export interface RequestConnection {
  /** Whether it has carried a response before. */
  readonly isReused: boolean;
  /** Closes it when the request is over, so that it carries no other request. */
  retire(): void;
  /** Keeps it for this client until one of the two connections ends. */
  bindTo(client: Socket): void;
}

/** The connections to one backend. */
export interface Connections {
  /** Whether a connection is used for more than one request. */
  readonly keepAlive: boolean;
  /** Spelling of the backend's header names; `undefined` if all are in lower case. */
  readonly spelling: HeaderSpelling | undefined;
  readonly isSecure: boolean;
  /** Whether no request is in progress, and no connection was used a short while ago. Only `undiciTransport()` asks, which has no HTTP/2. */
  readonly isIdle?: boolean;
  /**
   * @param client Connection of the client that sent the request; `undefined` for a copy of a request.
   * @returns `undefined` when the connections are closed; the handler gets an error then.
   */
  dispatch(
    options: Dispatcher.DispatchOptions,
    handler: ResponseHandler,
    client?: Socket,
  ): RequestConnection | undefined;
  /** Waits for the requests in progress. */
  close(): Promise<void>;
  /** Ends the requests in progress with this error. */
  destroy(error: Error): Promise<void>;
}
