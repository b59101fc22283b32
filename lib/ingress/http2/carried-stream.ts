import { constants, type ServerHttp2Stream } from 'node:http2';
import { addAbortSignal } from 'node:stream';

const kListener = Symbol('expressway.streamListener');
const kIsEnded = Symbol('expressway.isEnded');

/** The stream of a request that a connection in memory carries. */
export type CarriedStream = ServerHttp2Stream & {
  [kListener]?: StreamListener;
  [kIsEnded]?: boolean;
  readonly _readableState?: { readonly ended: boolean };
};

/** Receives the events of a carried stream. */
export interface StreamListener {
  contentCame(stream: CarriedStream, chunk: Buffer): void;
  trailersCame(raw: readonly string[]): void;
  contentEnded(stream: CarriedStream): void;
  streamClosed(stream: CarriedStream): void;
}

export function listenTo(stream: CarriedStream, listener: StreamListener): void {
  stream[kListener] = listener;
  stream.on('close', streamClosed);
}

/** Whether the client has ended its request, which a reset does not do. */
export const isEnded = (stream: CarriedStream): boolean => stream[kIsEnded] === true;

/** Starts to pass content and trailers to the listener of the stream. */
export function readFrom(stream: CarriedStream): void {
  if (stream._readableState?.ended === true && !stream.closed) stream[kIsEnded] = true;
  const { push } = stream;
  stream.push = function pushAndNote(this: CarriedStream, chunk: unknown, encoding?: BufferEncoding): boolean {
    // A reset closes the stream before Node pushes its end.
    if (chunk === null && !this.closed) this[kIsEnded] = true;
    return push.call(this, chunk, encoding);
  };
  stream.on('data', dataCame);
  stream.on('end', dataEnded);
  stream.on('trailers', trailersCame);
  // Node reports the end of a stream without content even before anything reads from it.
  if (stream.readableEnded) stream[kListener]?.contentEnded(stream);
}

/**
 * Resets a stream. `close()` with an error would first send the end of what was written, and a part of a response would look whole.
 *
 * @param isTunnel The error code of a tunnel is CANCEL (RFC 8441 §5.1), otherwise INTERNAL_ERROR.
 */
export function breakOff(stream: ServerHttp2Stream, isTunnel: boolean): void {
  if (isTunnel) addAbortSignal(AbortSignal.abort(), stream);
  else stream.destroy(new Error('The response was broken off.'));
}

/**
 * Closes a stream whose request is not over, once its response is sent. Any earlier, Node would destroy the stream, and nghttp2 would then
 * send empty frames for it in an endless loop.
 */
export function closeWhenSent(stream: CarriedStream): void {
  if (stream.writableFinished) stream.close(constants.NGHTTP2_NO_ERROR);
  else stream.once('finish', () => setImmediate(() => stream.close(constants.NGHTTP2_NO_ERROR)));
}

// All streams share these functions, to save memory.

function dataCame(this: CarriedStream, chunk: Buffer): void {
  this[kListener]?.contentCame(this, chunk);
}

function dataEnded(this: CarriedStream): void {
  this[kListener]?.contentEnded(this);
}

function trailersCame(this: CarriedStream, _fields: unknown, _flags: unknown, raw: readonly string[]): void {
  this[kListener]?.trailersCame(raw);
}

function streamClosed(this: CarriedStream): void {
  this[kListener]?.streamClosed(this);
}
