import type { Socket } from 'node:net';

const kRead = Symbol('expressway.read');
const kWritten = Symbol('expressway.written');

/** How much of a connection's bytes is accounted for; on the socket itself, of which there may be many idle ones. */
type Counted = Socket & { [kRead]?: number; [kWritten]?: number };

/** Bytes that have passed on a connection. */
export interface Bytes {
  readonly read: number;
  readonly written: number;
}

/** What has passed on a connection since the last call: so all bytes are counted, and none twice. */
export function newBytes(socket: Socket): Bytes {
  const counted = socket as Counted;
  const { bytesRead, bytesWritten } = counted;
  const since = { read: bytesRead - (counted[kRead] ?? 0), written: bytesWritten - (counted[kWritten] ?? 0) };
  counted[kRead] = bytesRead;
  counted[kWritten] = bytesWritten;
  return since;
}

/** Keeps bytes that are counted elsewhere out of the next `newBytes()`. */
export function countedElsewhere(socket: Socket, read: number, written: number): void {
  const counted = socket as Counted;
  counted[kRead] = (counted[kRead] ?? 0) + read;
  counted[kWritten] = (counted[kWritten] ?? 0) + written;
}
