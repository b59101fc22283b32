import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { type Checks, durationMs, integer, optionalDurationMs, resolveOptions } from '../core/options.ts';
import { realImmediate, realTimeout } from './eventually.ts';

const TIME_TO_READ_MS = 20;

/** What a scripted backend does with a request: a listener as `node:http` has it, so that one's own fit in. */
export type Behaviour = (req: IncomingMessage, res: ServerResponse) => unknown;

type Content = string | Uint8Array;

/** Options of {@link answer}. */
export interface AnswerOptions {
  /** Default 200. */
  status?: number;
  /** Response fields. Default: none but those that Node adds. */
  fields?: OutgoingHttpHeaders;
  /** Default `ok`. */
  content?: Content;
  /** Milliseconds from the end of the request to the head of the answer. Default 0. */
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
 * Reads the request to its end, then answers whole.
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
 * An answer with a status that says so. Default 500.
 *
 * @throws {OptionsError} for a status below 400 or above 599
 */
export function fail(code = 500): Behaviour {
  resolveOptions('fail', { status: code }, {}, { status: integer(400, 599) });
  return answer({ status: code, content: '' });
}

/** Takes the request and never answers. The connection stays open until the client or `close()` ends it. */
export function hang(): Behaviour {
  return (req) => void req.resume();
}

/** Options of {@link reset}. */
export interface ResetOptions {
  /** When: as soon as the request's head is there, or behind the head of an answer. Default `request`. */
  after?: 'request' | 'head';
}

/**
 * Ends the connection by a reset (RST), as a crashed process or a firewall does. Content that the client is still sending
 * is lost.
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
  /** What the answer's `Content-Length` promises. Default 1 024 bytes. */
  content?: Content;
  /** Bytes of it that are sent, from 1 to one less than there are. Default: half of them. */
  afterBytes?: number;
}

/**
 * A good head, a part of the content, and the end of the connection (FIN), as a process that is killed leaves it.
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
  /** Bytes sent at a time. Default 64. */
  chunkBytes?: number;
  /** Milliseconds before each of them. The head is sent at once. Default 50. */
  intervalMs?: number;
}

const slowDefaults = Object.freeze({ content: 'x'.repeat(1_024) as Content, chunkBytes: 64, intervalMs: 50 });

/**
 * The head at once, the content little by little. For a slow head, `answer({ delayMs })`.
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

/** Resolves at the end of the content; never, when the client leaves before, for then a response would reach no client. */
function readToEnd(req: IncomingMessage): Promise<void> {
  if (req.readableEnded) return Promise.resolve();
  return new Promise((resolve) => req.once('end', resolve).resume());
}

/** An empty write ends when all that was written before it has left. */
function whenFlushed(req: IncomingMessage, done: () => void): void {
  req.socket.write('', done);
}

/**
 * A client that finds head and reset at once may not see that it was a reset: Node 22 takes it for an end. So it gets time to
 * read the head; the turn behind that is for a client in this process, however busy that is.
 */
function whenRead(req: IncomingMessage, done: () => void): void {
  whenFlushed(req, () => realTimeout(() => realImmediate(done), TIME_TO_READ_MS));
}

/** Whether the client is still there after that time. */
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
