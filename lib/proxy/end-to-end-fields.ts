import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { HOP_BY_HOP, namedInConnection } from './hop-by-hop.ts';

/** The names that never go out, and those that the caller leaves out or writes itself. One set, for one look per field. */
export function droppedFields(...others: readonly Iterable<string>[]): ReadonlySet<string> {
  // Node has answered 100 Continue already, and undici refuses the field.
  return new Set([...HOP_BY_HOP, 'expect', ...others.flatMap((names) => [...names])]);
}

/**
 * Appends the fields of a request that are meant for the backend. `req.headers` is the source, because
 * middlewares write there what backends should learn (a user's id, say); lines that Node joined into one
 * value go out as the lines that came in, in their order (RFC 9110 §5.3).
 *
 * @param dropped Names, in lower case, that do not go out: made with {@link droppedFields}.
 */
export function pushEndToEndFields(fields: string[], req: IncomingMessage, dropped: ReadonlySet<string>): void {
  const { headers, rawHeaders } = req;
  const named = namedInConnection(headers.connection);
  for (const name in headers) {
    const value = headers[name];
    if (value === undefined || dropped.has(name)) continue;
    if (named.size > 0 && named.has(name)) continue;
    if (typeof value !== 'string') for (const line of value) fields.push(name, line);
    else if (value.includes(', ')) pushLines(fields, name, headers, rawHeaders);
    else fields.push(name, value);
  }
}

/** The lines as they came, if they are what the value was joined from; else somebody changed it since. */
function pushLines(fields: string[], name: string, headers: IncomingHttpHeaders, rawHeaders: readonly string[]): void {
  const value = headers[name] as string;
  const lines: string[] = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if ((rawHeaders[i] as string).toLowerCase() === name) lines.push(rawHeaders[i + 1] as string);
  }
  if (lines.length > 1 && lines.join(', ') === value) for (const line of lines) fields.push(name, line);
  else fields.push(name, value);
}
