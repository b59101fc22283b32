import { closeSync, openSync, readSync } from 'node:fs';

/** The tables of connections of Linux: those that listen come first. */
const TABLES = ['/proc/self/net/tcp', '/proc/self/net/tcp6'] as const;
const PAGE_BYTES = 4_096;
/** Room for some 400 ports that listen. */
const MOST_PAGES = 16;

/** How many connections wait in the kernel to be accepted on a port. 0 where the system does not tell, as on all but Linux. */
export function acceptQueueLength(port: number): number {
  return Math.max(...TABLES.map((table) => lengthIn(table, port)));
}

function lengthIn(table: string, port: number): number {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  // sl, local_address, rem_address, st (0A listens), tx_queue:rx_queue: of one that listens, rx_queue is the length of its queue.
  const row = new RegExp(`:${hex} [\\dA-F]+:0000 0A [\\dA-F]{8}:([\\dA-F]{8}) `);
  const page = Buffer.allocUnsafe(PAGE_BYTES);
  let file: number | undefined;
  try {
    file = openSync(table, 'r');
    let text = '';
    for (let read = 0; read < MOST_PAGES; read += 1) {
      const bytes = readSync(file, page);
      text = text.slice(-PAGE_BYTES) + page.toString('latin1', 0, bytes);
      const found = row.exec(text)?.[1];
      if (found !== undefined) return Number.parseInt(found, 16);
      if (bytes === 0) return 0;
    }
  } catch {
    // Not Linux, or a sandbox without /proc.
  } finally {
    if (file !== undefined) closeSync(file);
  }
  return 0;
}
