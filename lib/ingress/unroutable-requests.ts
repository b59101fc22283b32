import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { sendProblem } from '../core/problem.ts';
import type { Answers } from './answers.ts';
import { absoluteFault } from './target-check.ts';

type Emit = (event: string, ...args: unknown[]) => boolean;

/**
 * Refuses requests before the app whose target is in absolute form without a valid http authority, like `http://` or
 * `http://?x`: Express shows some of them to no middleware, not even to `requestGuard()`.
 */
export function refuseUnroutable(server: Server, answers: Answers): void {
  // A listener could not keep the request from those that an app adds later.
  const emit: Emit = server.emit;
  function emitRoutable(this: Server, event: string, ...args: unknown[]): boolean {
    if (event === 'request' || event === 'upgrade') {
      const { url = '', socket } = args[0] as IncomingMessage;
      const fault = url.startsWith('/') || url === '*' ? undefined : absoluteFault(url);
      if (fault !== undefined) {
        const { cause, detail } = fault;
        if (event === 'upgrade') {
          // The HTTP server has let go of the socket: without a listener an error on it would end the process.
          socket.on('error', () => socket.destroy());
          answers.refuse(args[1] as Duplex, cause, detail);
        } else {
          answers.tell(socket, cause, { detail });
          sendProblem(args[1] as ServerResponse, cause, { detail });
        }
        return true;
      }
    }
    return emit.call(this, event, ...args);
  }
  server.emit = emitRoutable;
}
