import type { ServerResponse } from 'node:http';

/** Bytes up to which copying a response body is cheaper than a second write. */
export const SMALL_RESPONSE = 4_096;

/** A response under a middleware such as compression(), which holds bytes back. */
export type Encoded = ServerResponse & { flush?(): void };

/** To be called when the backend pauses: what it has sent must not wait for more. */
export function flushEncoder(res: Encoded): void {
  if (!res.writableEnded) res.flush?.();
}

export function flushHead(res: ServerResponse): void {
  if (!res.headersSent && !res.writableEnded) res.flushHeaders();
}

/** Ends a response with the last piece of its body. */
export function endWith(res: ServerResponse, chunk: Buffer): void {
  // As a string, a small body goes out together with the head in one write, not in a vectored write of two buffers.
  if (chunk.length <= SMALL_RESPONSE && !res.headersSent) res.end(chunk.toString('latin1'), 'latin1');
  else res.end(chunk);
}
