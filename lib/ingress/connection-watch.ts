import type { Server } from 'node:http';
import type { Socket } from 'node:net';

/** Hears of each connection, and of its end. */
export interface ConnectionWatcher {
  opened(socket: Socket): void;
  closed(socket: Socket): void;
}

/**
 * Tells watchers of a server's connections, through one listener on each: an idle connection is to cost little, and the third
 * listener of an event makes V8 keep room for 16 more of them.
 */
export function watchConnections(
  server: Server,
  event: 'connection' | 'secureConnection',
  watchers: readonly ConnectionWatcher[],
): void {
  if (watchers.length === 0) return;
  function closed(this: Socket): void {
    for (const watcher of watchers) watcher.closed(this);
  }
  server.on(event, (socket: Socket) => {
    socket.on('close', closed);
    for (const watcher of watchers) watcher.opened(socket);
  });
}
