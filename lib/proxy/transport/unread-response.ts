import type { Socket } from 'node:net';

type Written = (error?: Error | null) => void;

/** Codes of a failed write on a connection that the peer closed. */
const CLOSED_BY_PEER = new Set(['ECONNRESET', 'EPIPE']);

/** On Linux, the first write that fails reports EPIPE only if the peer's FIN came before its reset. */
const TELLS_FIN = process.platform === 'linux';

/**
 * Delivers what a backend sent before its connection broke. A backend may respond before it has read the whole request, and close
 * (RFC 9112 §9.6): with 413 to a large upload, for example. The next write then fails, and Node would close the socket at once, although
 * the response is still unread. Here the error waits until all bytes are read. So does a reset that arrives while the client is slower
 * than the backend.
 *
 * It costs one function call per write. It applies while undici's parser reads the socket; an upgraded connection behaves as in Node.
 */
export function deliverUnreadResponse(socket: Socket): void {
  const { _write, _writev, destroy } = socket;
  let written: Written;
  let broken: NodeJS.ErrnoException | undefined;
  /** Whether undici's parser reads this socket: undici removes its listener from an upgraded one. */
  const isParsed = () => socket.listenerCount('readable') > 0;

  const afterWrite: Written = (error) => {
    if (error && CLOSED_BY_PEER.has((error as NodeJS.ErrnoException).code ?? '') && isParsed()) failLater(error);
    else written(error);
  };
  socket._write = (chunk, encoding, callback) => {
    written = callback;
    _write.call(socket, chunk, encoding, afterWrite);
  };
  if (_writev !== undefined) {
    socket._writev = (chunks, callback) => {
      written = callback;
      _writev.call(socket, chunks, afterWrite);
    };
  }
  socket.destroy = (error?: NodeJS.ErrnoException) => {
    if (error?.code !== 'ECONNRESET' || error.syscall !== 'read' || socket.destroyed || !isParsed()) {
      return destroy.call(socket, error);
    }
    failWhenRead(error);
    return socket;
  };

  /** Leaves the write unfinished. The backend sends no more, so the end follows as soon as the received bytes are read. */
  function failLater(error: NodeJS.ErrnoException): void {
    broken = error;
    // The FIN is an orderly end, which may be the end of the body.
    if (error.code === 'EPIPE' && TELLS_FIN) return;
    const { push } = socket;
    socket.push = (chunk, encoding) => {
      if (chunk !== null) return push.call(socket, chunk, encoding);
      failWhenRead(error);
      return false;
    };
  }

  /** Closes the socket as soon as the parser has read everything. A paused parser reads on later. */
  function failWhenRead(error: NodeJS.ErrnoException): void {
    const { read } = socket;
    socket.read = (size) => {
      const chunk = read.call(socket, size);
      // Later, because the parser may just be reading the end of the response.
      if (chunk === null) process.nextTick(() => destroy.call(socket, broken ?? error));
      return chunk;
    };
    socket.emit('readable');
  }
}
