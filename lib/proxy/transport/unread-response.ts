import type { Socket } from 'node:net';

type Written = (error?: Error | null) => void;

/** How a connection that the peer closed looks to a write. */
const CLOSED_BY_PEER = new Set(['ECONNRESET', 'EPIPE']);

/** Linux reports EPIPE to the first write that fails only if the peer's FIN came before its reset. */
const TELLS_FIN = process.platform === 'linux';

/**
 * Delivers what a backend sent before its connection broke. A backend may answer while it is still being sent the request,
 * and close (RFC 9112 §9.6): 413 to a large upload, for example. The next write then fails, and Node would close the
 * socket at once, with the response still unread in the socket or in the kernel. Here the error waits until all of that
 * is read. The same goes for a reset that is read while the client is slower than the backend.
 *
 * Costs one function call per write. What reads must be undici's parser; an upgraded connection behaves as Node's do.
 */
export function deliverUnreadResponse(socket: Socket): void {
  const { _write, _writev, destroy } = socket;
  let written: Written;
  let broken: NodeJS.ErrnoException | undefined;
  /** Only while undici's parser reads this socket: it takes its listener off an upgraded one. */
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

  /** The write stays unfinished. Nothing more can come than the kernel has: the end is near. */
  function failLater(error: NodeJS.ErrnoException): void {
    broken = error;
    // An orderly end, which undici may take for the end of the content.
    if (error.code === 'EPIPE' && TELLS_FIN) return;
    const { push } = socket;
    socket.push = (chunk, encoding) => {
      if (chunk !== null) return push.call(socket, chunk, encoding);
      failWhenRead(error);
      return false;
    };
  }

  /** All has arrived: closes the socket as soon as the parser finds nothing more. A paused one goes on reading later. */
  function failWhenRead(error: NodeJS.ErrnoException): void {
    const { read } = socket;
    socket.read = (size) => {
      const chunk = read.call(socket, size);
      // Not in the middle of the parser's work: it may hold the end of the response.
      if (chunk === null) process.nextTick(() => destroy.call(socket, broken ?? error));
      return chunk;
    };
    socket.emit('readable');
  }
}
