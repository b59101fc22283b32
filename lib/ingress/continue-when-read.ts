import { IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { lastAnswer } from '../core/last-answer.ts';

/**
 * Has a server answer `Expect: 100-continue` not at once, as Node does, but when somebody begins to read the content: a
 * request that is refused before gets its final answer instead, and the client need not send what nobody wants (RFC 9110
 * §10.1.1). Such an answer is the last one on its connection: whether the client sends the content all the same, nobody
 * can know, and it must not be taken for a request.
 *
 * Leaves a server alone whose app listens to `checkContinue` itself.
 */
export function continueWhenRead(server: Server): void {
  server.on('checkContinue', (req: IncomingMessage, res: ServerResponse) => {
    if (server.listenerCount('checkContinue') > 1) return;
    let isAwaited = true;
    req._read = function readAfterContinue(size: number): void {
      if (isAwaited && !res.headersSent && !res.destroyed) res.writeContinue();
      isAwaited = false;
      req._read = IncomingMessage.prototype._read;
      req._read(size);
    };
    const writeHead = res.writeHead as (...args: unknown[]) => ServerResponse;
    res.writeHead = function writeFinalHead(...args: unknown[]): ServerResponse {
      if (isAwaited) lastAnswer(res);
      isAwaited = false;
      return writeHead.apply(res, args);
    };
    server.emit('request', req, res);
  });
}
