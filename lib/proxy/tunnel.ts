import type { Duplex } from 'node:stream';
import { isHopByHop, namedInConnection } from './hop-by-hop.ts';
import type { ResponseFields } from './response-head.ts';

/**
 * Joins the two connections of an upgraded exchange. Bytes pass both ways with back-pressure; when one side
 * ends, its data is flushed to the other before that is closed (RFC 9110 §9.3.6).
 *
 * @param closed Called once, when both sides are gone.
 */
export function openTunnel(client: Duplex, backend: Duplex, sentEarly: Buffer, closed: () => void): void {
  let open = 2;
  const join = (from: Duplex, to: Duplex): void => {
    from.on('error', () => to.destroy());
    from.once('close', () => {
      // After an orderly end the pipe has ended `to` already; after a break nothing else would.
      if (!from.readableEnded) to.destroy();
      open -= 1;
      if (open === 0) closed();
    });
    from.pipe(to);
  };
  join(client, backend);
  join(backend, client);
  if (sentEarly.length > 0) backend.write(sentEarly);
}

/** The head with which a client learns that the protocol was switched. */
export function switchingProtocolsHead(fields: ResponseFields, protocol: string): string {
  const named = namedInConnection(fields.connection);
  let head = `HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: ${protocol}\r\n`;
  for (const name in fields) {
    const value = fields[name];
    if (value === undefined || isHopByHop(name) || named.has(name)) continue;
    for (const line of Array.isArray(value) ? value : [value]) head += `${name}: ${line}\r\n`;
  }
  return `${head}\r\n`;
}
