import { closeSync, openSync, readSync } from 'node:fs';
import type { AddressInfo } from 'node:net';

const PAGE_BYTES = 4_096;
/** Pages of the table that are read: enough for some 400 listening ports. */
const MOST_PAGES = 16;
/** A listening socket. */
const LISTENING = / 0A [\dA-F]{8}:/;

/**
 * Number of connections that wait in the kernel until the process accepts them; 0 on systems other than Linux, which do not publish it.
 * Reads only the beginning of the table of connections, which has the listening sockets. The whole table would take milliseconds.
 */
export function acceptQueueLength({ port, family }: Pick<AddressInfo, 'port' | 'family'>): number {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  // sl, local_address, rem_address, st (0A is LISTEN), tx_queue:rx_queue. For a listening socket, rx_queue is the length of its accept queue.
  const row = new RegExp(`:${hex} [\\dA-F]+:0000 0A [\\dA-F]{8}:([\\dA-F]{8}) `);
  const page = Buffer.allocUnsafe(PAGE_BYTES);
  let file: number | undefined;
  try {
    file = openSync(family === 'IPv6' ? '/proc/self/net/tcp6' : '/proc/self/net/tcp', 'r');
    let rest = '';
    for (let read = 0; read < MOST_PAGES; read += 1) {
      const text = rest + page.toString('latin1', 0, readSync(file, page));
      const found = row.exec(text)?.[1];
      if (found !== undefined) return Number.parseInt(found, 16);
      if (!LISTENING.test(text)) return 0;
      // A line may be cut at the end of a page.
      rest = text.slice(text.lastIndexOf('\n') + 1);
    }
  } catch {
    // Not Linux, or a sandbox without /proc.
  } finally {
    if (file !== undefined) closeSync(file);
  }
  return 0;
}
