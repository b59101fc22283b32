import type { Socket } from 'node:net';

const kRead = Symbol('expressway.read');
const kWritten = Symbol('expressway.written');

/** Bytes of a connection that were counted already. A property of the socket, because a map for many idle sockets would cost more. */
type Counted = Socket & { [kRead]?: number; [kWritten]?: number };

/** Bytes that have passed on a connection. */
export interface Bytes {
  readonly read: number;
  readonly written: number;
}

/** Bytes that have passed on a connection since the last call. So all bytes are counted once. */
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
