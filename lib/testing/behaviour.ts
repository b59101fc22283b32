import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { type Checks, durationMs, integer, optionalDurationMs, resolveOptions } from '../core/options.ts';
import { realImmediate, realTimeout } from './eventually.ts';

const TIME_TO_READ_MS = 20;

/** Handles a request of a scripted backend. It is a `node:http` listener, so you can write your own. */
export type Behaviour = (req: IncomingMessage, res: ServerResponse) => unknown;

type Content = string | Uint8Array;

/** Options of {@link answer}. */
export interface AnswerOptions {
  /** Default 200. */
  status?: number;
  /** Response headers. Default: only those that Node adds. */
  fields?: OutgoingHttpHeaders;
  /** Default `ok`. */
  content?: Content;
  /** Milliseconds from the end of the request to the head of the response. Default 0. */
  delayMs?: number;
}

/** Defaults of {@link AnswerOptions}. */
export const answerDefaults = Object.freeze({
  status: 200,
  fields: {} as OutgoingHttpHeaders,
  content: 'ok' as Content,
  delayMs: 0,
});

const status = integer(200, 599);
const fieldsCheck = (value: unknown) => (typeof value === 'object' && value !== null ? undefined : 'must be an object');
const contentCheck = (value: unknown) =>
  typeof value === 'string' || value instanceof Uint8Array ? undefined : 'must be a string or bytes';

const answerChecks: Checks<AnswerOptions> = {
  status,
  fields: fieldsCheck,
  content: contentCheck,
  delayMs: optionalDurationMs,
};

/**
 * Reads the whole request, then sends a complete response.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function answer(given?: AnswerOptions): Behaviour {
  const { status, fields, content, delayMs } = resolveOptions('answer', given, answerDefaults, answerChecks);
  return async (req, res) => {
    await readToEnd(req);
    if (delayMs > 0 && !(await pause(delayMs, res))) return;
    res.writeHead(status, { 'content-length': Buffer.byteLength(content), ...fields }).end(content);
  };
}

/**
 * Responds with an error status. Default 500.
 *
 * @throws {OptionsError} for a status below 400 or above 599
 */
export function fail(code = 500): Behaviour {
  resolveOptions('fail', { status: code }, {}, { status: integer(400, 599) });
  return answer({ status: code, content: '' });
}

/** Accepts the request and never responds. The connection stays open until the client or `close()` ends it. */
export function hang(): Behaviour {
  return (req) => void req.resume();
}

/** Options of {@link reset}. */
export interface ResetOptions {
  /** When to reset: after the head of the request has arrived, or after sending the head of a response. Default `request`. */
  after?: 'request' | 'head';
}

/**
 * Ends the connection by a reset (RST), as a crashed process or a firewall does. Content that the client is still sending
 * gets lost.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function reset(given?: ResetOptions): Behaviour {
  const { after } = resolveOptions('reset', given, { after: 'request' } as const, {
    after: (value) => (value === 'request' || value === 'head' ? undefined : 'must be "request" or "head"'),
  });
  return (req, res) => {
    if (after === 'request') return void req.socket.resetAndDestroy();
    res.writeHead(200, { 'content-length': 2 }).flushHeaders();
    whenRead(req, () => req.socket.resetAndDestroy());
  };
}

/** Options of {@link cut}. */
export interface CutOptions {
  /** The content that `Content-Length` announces. Default 1 024 bytes. */
  content?: Content;
  /** Bytes that are sent, at least 1 and fewer than the content has. Default: half of the content. */
  afterBytes?: number;
}

/**
 * Sends a valid head and a part of the content, then ends the connection (FIN), as a killed process does.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function cut(given?: CutOptions): Behaviour {
  const whole = Buffer.from((given?.content ?? 'x'.repeat(1_024)) as string);
  const { afterBytes } = resolveOptions(
    'cut',
    given,
    { content: whole as Content, afterBytes: whole.length >> 1 },
    { content: contentCheck, afterBytes: integer(1, Math.max(1, whole.length - 1)) },
  );
  return async (req, res) => {
    await readToEnd(req);
    res.writeHead(200, { 'content-length': whole.length });
    res.write(whole.subarray(0, afterBytes));
    whenFlushed(req, () => req.socket.destroySoon());
  };
}

/** Options of {@link slow}. */
export interface SlowOptions {
  /** Default 1 024 bytes. */
  content?: Content;
  /** Bytes of one piece. Default 64. */
  chunkBytes?: number;
  /** Milliseconds before each piece. The head is sent at once. Default 50. */
  intervalMs?: number;
}

const slowDefaults = Object.freeze({ content: 'x'.repeat(1_024) as Content, chunkBytes: 64, intervalMs: 50 });

/**
 * Sends the head at once, and the content in pieces with pauses. For a slow head, use `answer({ delayMs })`.
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export function slow(given?: SlowOptions): Behaviour {
  const { content, chunkBytes, intervalMs } = resolveOptions('slow', given, slowDefaults, {
    content: contentCheck,
    chunkBytes: integer(1),
    intervalMs: durationMs,
  });
  const whole = Buffer.from(content as string);
  return async (req, res) => {
    await readToEnd(req);
    res.writeHead(200, { 'content-length': whole.length }).flushHeaders();
    for (let sent = 0; sent < whole.length; sent += chunkBytes) {
      if (!(await pause(intervalMs, res))) return;
      res.write(whole.subarray(sent, sent + chunkBytes));
    }
    res.end();
  };
}

/** Resolves at the end of the content. If the client leaves before, it never resolves, because no response could reach the client. */
function readToEnd(req: IncomingMessage): Promise<void> {
  if (req.readableEnded) return Promise.resolve();
  return new Promise((resolve) => req.once('end', resolve).resume());
}

/** An empty write calls back when all earlier writes have left the process. */
function whenFlushed(req: IncomingMessage, done: () => void): void {
  req.socket.write('', done);
}

/**
 * A client that gets head and reset together may not notice the reset: Node 22 takes it for an end. So the client gets time to read the
 * head, and one more turn of the event loop if it runs in this process.
 */
function whenRead(req: IncomingMessage, done: () => void): void {
  whenFlushed(req, () => realTimeout(() => realImmediate(done), TIME_TO_READ_MS));
}

/** Waits. @returns whether the client is still connected. */
function pause(delayMs: number, res: ServerResponse): Promise<boolean> {
  if (res.destroyed) return Promise.resolve(false);
  return new Promise((resolve) => {
    const closed = () => {
      clearTimeout(timer);
      resolve(false);
    };
    const timer = setTimeout(() => {
      res.off('close', closed);
      resolve(true);
    }, delayMs);
    res.once('close', closed);
  });
}
