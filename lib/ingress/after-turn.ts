import { AsyncResource } from 'node:async_hooks';
import type { Duplex } from 'node:stream';

/**
 * Calls a function that responds, after the present turn of the event loop. If the client ends its side of the connection in this turn, it is
 * called at once: Node's HTTP server then ends the other side too, and the response would be lost.
 */
export function afterTurn(socket: Duplex, respond: () => void): void {
  const bound = AsyncResource.bind(respond);
  const due = (): void => {
    socket.off('end', due);
    clearImmediate(immediate);
    bound();
  };
  const immediate = setImmediate(due);
  // Before the listener of Node's HTTP server.
  socket.prependListener('end', due);
}
