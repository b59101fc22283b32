import type { Dispatcher } from 'undici';
import type { Backend } from '../../backends/backend.ts';
import type { ProbeAnswer, ProbeOptions } from '../../backends/health/health-check.ts';
import { grpcStatusIn } from '../../core/grpc.ts';
import type { ResponseFields } from '../response/response-head.ts';
import type { Connections, ResponseHandler } from './connections.ts';

/** The method of gRPC's health checking protocol. As the path of health checks, it selects a gRPC check. */
const GRPC_CHECK = '/grpc.health.v1.Health/Check';
/** A message without a field: it asks about the server as a whole. */
const EVERY_SERVICE = Buffer.alloc(5);
/** A message that says SERVING. */
const SERVING = Buffer.from([0, 0, 0, 0, 2, 8, 1]);

/** The headers of a health check, with names in lower case. */
export const checkHeaders = (authority: string, given: ProbeOptions['headers']): Record<string, string> => ({
  host: authority,
  'user-agent': 'expressway-health-check',
  ...Object.fromEntries(Object.entries(given).map(([name, value]) => [name.toLowerCase(), value])),
});

/** Sends one health check over HTTP/2: a GET, or a gRPC call if the path is that of gRPC's health checks. */
export function http2Probe(
  connections: Connections,
  { authority }: Backend,
  { path, headers: given, signal }: Pick<ProbeOptions, 'path' | 'headers' | 'signal'>,
  maxBodyBytes: number,
): Promise<ProbeAnswer | Error> {
  const isCall = path === GRPC_CHECK;
  const headers = Object.entries(checkHeaders(authority, given)).flat();
  if (isCall) headers.push('content-type', 'application/grpc');
  return new Promise((resolve) => {
    const reader = new ResponseBeginning(isCall, maxBodyBytes, resolve);
    signal.addEventListener('abort', () => reader.onResponseError(null, signal.reason as Error));
    connections.dispatch(
      { path, method: isCall ? 'POST' : 'GET', headers, body: isCall ? EVERY_SERVICE : null },
      reader,
    );
  });
}

/** Reads as much of a response as a check needs. */
class ResponseBeginning implements ResponseHandler {
  readonly #isCall: boolean;
  readonly #maxBytes: number;
  readonly #done: (answer: ProbeAnswer | Error) => void;
  #status = 0;
  #grpcStatus: number | undefined;
  #content = Buffer.alloc(0);

  constructor(isCall: boolean, maxBytes: number, done: (answer: ProbeAnswer | Error) => void) {
    this.#isCall = isCall;
    this.#maxBytes = maxBytes;
    this.#done = done;
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, fields: ResponseFields): void {
    this.#status = status;
    this.#grpcStatus = grpcStatusIn(fields);
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#content = Buffer.concat([this.#content, chunk]);
    if (this.#content.length >= this.#maxBytes) this.#answer({});
  }

  onResponseEnd(_controller: Dispatcher.DispatchController, trailers: ResponseFields): void {
    this.#answer(trailers);
  }

  onResponseError(_controller: unknown, error: Error): void {
    this.#done(error);
  }

  #answer(trailers: ResponseFields): void {
    const status = grpcStatusIn(trailers) ?? this.#grpcStatus;
    const isServing = status === 0 && this.#content.equals(SERVING);
    if (!this.#isCall || isServing) {
      this.#done({ status: this.#status, content: this.#content.subarray(0, this.#maxBytes).toString() });
    } else {
      this.#done(
        new Error(
          status === 0
            ? 'the health check says that the server does not serve'
            : `the health check got status ${this.#status} and the gRPC status ${status ?? 'none'}`,
        ),
      );
    }
  }
}
