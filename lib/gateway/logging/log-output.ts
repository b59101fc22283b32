import { destination } from 'pino';

/** Bytes of lines that may wait for a slow disk or reader. That is some ten thousand lines. */
const MAX_BUFFER_BYTES = 16 * 1024 * 1024;

/** Lines are written together, because waking the thread that writes costs more than a line. */
const CHUNK_BYTES = 65_536;
const MOST_DELAY_MS = 20;

/**
 * Bytes that a pipe on Linux takes in one piece (PIPE_BUF of POSIX). Processes that share a pipe write no more at once, so that their
 * lines do not mix.
 */
export const ONE_PIECE_LENGTH = 4_096;

/** Bytes in UTF-8 that one unit of a string may need. */
const MOST_BYTES_PER_UNIT = 3;
const LINE_END = 0x0a;

/** Milliseconds that the end of the process waits for the last lines. */
const CLOSE_TIMEOUT_MS = 1_000;
/** Milliseconds after which a write is stuck, because its reader does not read. */
const STUCK_MS = 900;

/** With `contentMode: 'buffer'` it accepts bytes, but its types do not allow them. */
type Destination = Omit<ReturnType<typeof destination>, 'write'> & { write(chunk: Buffer | string): unknown };

/**
 * Writes to standard output without ever waiting for it. Node's own `process.stdout` stops the whole process while a pipe is full. Lines
 * that do not fit into the buffer are dropped, and a line with their number follows when there is room. A full disk is treated like a
 * slow one. Lines are written together, up to 20 ms late.
 *
 * The log never keeps the process from ending. At its exit, Node waits for the thread that writes. If that thread waits for a reader that
 * stands still, the process kills itself.
 */
export class LogOutput {
  readonly #out: Destination;
  readonly #chunkBytes: number;
  // Not a string, which would be a tree of its pieces until it is written. Walking that tree later, when no cache has it any more, costs
  // more than copying each line at once.
  #chunk: Buffer;
  #length = 0;
  #timer: NodeJS.Timeout | undefined;
  #dropped = 0;
  #unreported = 0;
  /** `performance.now()` when the unfinished write began. */
  #writingSince: number | undefined;
  #failure: { readonly code: string; readonly message: string; readonly since: number } | undefined;

  /**
   * @param dest Path or descriptor of a file.
   * @param chunkBytes Most bytes that are written together. A longer line is written alone.
   */
  constructor(dest: number | string = 1, maxLength = MAX_BUFFER_BYTES, chunkBytes = CHUNK_BYTES) {
    this.#chunkBytes = Math.min(chunkBytes, maxLength);
    this.#chunk = Buffer.allocUnsafeSlow(this.#chunkBytes);
    const options = { dest, sync: false, maxLength, maxWrite: chunkBytes, contentMode: 'buffer' };
    this.#out = destination(options);
    this.#out.on('drop', (chunk: unknown) => {
      let lines = 0;
      for (const byte of chunk as Buffer) if (byte === LINE_END) lines += 1;
      this.#dropped += lines;
      this.#unreported += lines;
    });
    this.#out.on('write', () => {
      this.#writingSince = performance.now();
    });
    // At the exit of the process, pino's own would try to write the rest to a full disk for ever.
    this.#out.flushSync = () => {};
    process.on('exit', this.#onExit);
    // After a broken pipe, pino's own listener would discard all further lines without counting them.
    this.#out.removeAllListeners('error');
    this.#out.on('error', ({ code = 'UNKNOWN', message }: NodeJS.ErrnoException) => {
      this.#writingSince = undefined;
      if (this.#failure === undefined) process.stderr.write(`The log cannot be written: ${message}\n`);
      this.#failure = { code, message, since: this.#failure?.since ?? Date.now() };
    });
    this.#out.on('drain', () => {
      this.#writingSince = undefined;
      this.#reportDropped();
    });
    this.#out.on('close', () => process.off('exit', this.#onExit));
  }

  /** Number of dropped lines. */
  get dropped(): number {
    return this.#dropped;
  }

  /** The present error of writing; `undefined` if writing works. */
  get failure(): { readonly code: string; readonly message: string; readonly since: number } | undefined {
    return this.#failure;
  }

  write(line: string): void {
    const most = MOST_BYTES_PER_UNIT * line.length;
    // Whole lines only, and no more than a chunk of them at once.
    if (this.#length + most > this.#chunkBytes) this.#flush();
    if (most > this.#chunkBytes) {
      this.#send(Buffer.from(line));
      return;
    }
    this.#length += this.#chunk.write(line, this.#length);
    // Not unref'ed, so that a process that ends without close() writes its last lines.
    this.#timer ??= setTimeout(this.#flush, MOST_DELAY_MS);
  }

  /** Resolves when all lines are written, or after a second. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, CLOSE_TIMEOUT_MS);
      const closed = (): void => {
        clearTimeout(timer);
        resolve();
      };
      this.#out.on('close', closed);
      this.#out.on('error', closed);
      this.#flush();
      this.#out.end();
    });
  }

  readonly #flush = (): void => {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#length === 0) return;
    const chunk = this.#chunk.subarray(0, this.#length);
    this.#chunk = Buffer.allocUnsafeSlow(this.#chunkBytes);
    this.#length = 0;
    this.#send(chunk);
  };

  readonly #onExit = (): void => {
    const since = this.#writingSince;
    if (since !== undefined && performance.now() - since > STUCK_MS) process.kill(process.pid, 'SIGKILL');
    // After an uncaught exception nothing else would write the last lines. The thread still takes them.
    else this.#flush();
  };

  #send(lines: Buffer): void {
    this.#writingSince ??= performance.now();
    this.#out.write(lines);
  }

  #reportDropped(): void {
    this.#failure = undefined;
    if (this.#unreported === 0) return;
    const dropped = this.#unreported;
    this.#unreported = 0;
    const fields = { level: 'warn', time: new Date(), msg: 'log lines dropped', dropped };
    this.#send(Buffer.from(`${JSON.stringify(fields)}\n`));
  }
}
