import { type DestinationStream, destination } from 'pino';

/** Lines that wait while whoever reads the log, or the disk, is slow: some ten thousand. */
const MAX_BUFFER_BYTES = 16 * 1024 * 1024;

/** Lines are written together: each write costs a wake-up of another thread, which is more than a line itself costs. */
const CHUNK_LENGTH = 16_384;
const MOST_DELAY_MS = 20;

/**
 * What a pipe takes as one piece at least on Linux (POSIX PIPE_BUF): for several processes that write into one, so that their
 * lines do not get into each other.
 */
export const ONE_PIECE_LENGTH = 4_096;

/** How long the end of the process waits for the last lines. */
const CLOSE_TIMEOUT_MS = 1_000;

type Destination = ReturnType<typeof destination> & DestinationStream;

/**
 * Standard output, written to without ever waiting for it: Node's own `process.stdout` stops the whole process while a
 * pipe is full. Lines that do not fit into the buffer are dropped, and counted in a line of their own as soon as there
 * is room. A full disk is the same as a slow one. Lines are written up to 20 ms late, together.
 */
export class LogOutput {
  readonly #out: Destination;
  readonly #chunkLength: number;
  #chunk = '';
  #timer: NodeJS.Timeout | undefined;
  #dropped = 0;
  #untold = 0;
  #failed = false;

  /**
   * @param dest A file's path or descriptor.
   * @param chunkLength How much is written together. A line that is longer is written for itself.
   */
  constructor(dest: number | string = 1, maxLength = MAX_BUFFER_BYTES, chunkLength = CHUNK_LENGTH) {
    this.#chunkLength = chunkLength;
    this.#out = destination({ dest, sync: false, maxLength, maxWrite: chunkLength });
    this.#out.on('drop', (chunk: string) => {
      const lines = chunk.split('\n').length - 1;
      this.#dropped += lines;
      this.#untold += lines;
    });
    this.#out.on('error', (error: Error) => {
      if (!this.#failed) process.emitWarning(`The log cannot be written: ${error.message}`);
      this.#failed = true;
    });
    this.#out.on('drain', () => this.#tell());
  }

  /** Lines that were not written, so far. */
  get dropped(): number {
    return this.#dropped;
  }

  write(line: string): void {
    // Whole lines only, and no more than a chunk of them at once.
    if (this.#chunk !== '' && this.#chunk.length + line.length > this.#chunkLength) this.#flush();
    this.#chunk += line;
    if (this.#chunk.length >= this.#chunkLength) this.#flush();
    // Not unref'ed: a process that has come to its end without close() ends with its last lines.
    else this.#timer ??= setTimeout(this.#flush, MOST_DELAY_MS);
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
    const chunk = this.#chunk;
    this.#chunk = '';
    if (chunk !== '') this.#out.write(chunk);
  };

  #tell(): void {
    this.#failed = false;
    if (this.#untold === 0) return;
    const dropped = this.#untold;
    this.#untold = 0;
    const fields = { level: 'warn', time: new Date(), msg: 'log lines dropped', dropped };
    this.#out.write(`${JSON.stringify(fields)}\n`);
  }
}
