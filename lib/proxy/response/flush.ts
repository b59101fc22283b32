import type { ServerResponse } from 'node:http';

/** Bytes up to which copying an answer is cheaper than a second buffer on its way to the client. */
export const SMALL_ANSWER = 4_096;

/** A response under a middleware such as compression(), which keeps back what it is given. */
export type Encoded = ServerResponse & { flush?(): void };

/** Once the backend pauses: what it has sent must not wait for what it may send later. */
export function flushEncoder(res: Encoded): void {
  if (!res.writableEnded) res.flush?.();
}

export function flushHead(res: ServerResponse): void {
  if (!res.headersSent && !res.writableEnded) res.flushHeaders();
}

/** Ends an answer with the last piece of its content. */
export function endWith(res: ServerResponse, chunk: Buffer): void {
  // As a string, a small answer goes out with its head in one write instead of a vectored one of two.
  if (chunk.length <= SMALL_ANSWER && !res.headersSent) res.end(chunk.toString('latin1'), 'latin1');
  else res.end(chunk);
}
