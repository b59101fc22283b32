import type { IncomingMessage } from 'node:http';

/**
 * How long the client said that the body of its request is (RFC 9112 §6.3): 0 for none, `Infinity` where only the end of
 * the chunks tells. Read from `rawHeaders`: what is on the wire does not change when a middleware edits `req.headers`.
 */
export function declaredLength({ rawHeaders, headers }: IncomingMessage): number {
  // A request that no HTTP/1 parser has read, such as one made by a test, has nothing else.
  if (!rawHeaders?.length) return headers['transfer-encoding'] ? Infinity : Number(headers['content-length'] ?? 0);
  let length = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string;
    if (name.length === 14 && name.toLowerCase() === 'content-length') length = Number(rawHeaders[i + 1]);
    else if (name.length === 17 && name.toLowerCase() === 'transfer-encoding') return Infinity;
  }
  return length;
}
