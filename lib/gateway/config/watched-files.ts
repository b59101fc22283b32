import { readFile, stat } from 'node:fs/promises';
import { readFailure } from '../../core/read-failure.ts';
import type { Config } from './config.ts';

/** Most bytes of a file: far more than a thousand backends or routes need. */
const MAX_BYTES = 1_048_576;

const LOOK_EVERY_MS = 500;

/**
 * Reads a text file of bounded size.
 *
 * @throws {Error} whose message is the rest of a sentence that begins with the name of the file.
 */
export async function readBounded(path: string, maxBytes: number = MAX_BYTES): Promise<string> {
  let bytes: Buffer;
  try {
    const found = await stat(path);
    // Reading a pipe without a writer would never end.
    if (!found.isFile() && !found.isDirectory()) throw new Error('it is not a regular file');
    if (found.size > maxBytes) throw new Error(`it is larger than ${maxBytes} bytes`);
    bytes = await readFile(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    throw new Error(`cannot be read: ${readFailure(error as Error)}`, { cause: error });
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new Error('it is not UTF-8', { cause });
  }
}

/** Usually long enough for both files of a certificate and its key to be written. */
const CERTIFICATES_EVERY_MS = 2_000;

/** Watches the files of the certificates that the listener uses. */
export const certificateFiles = (config: () => Pick<Config, 'tls' | 'clientCa'>): WatchedFiles =>
  new WatchedFiles(() => {
    const { tls = [], clientCa } = config();
    return [...tls.flatMap(({ cert, key }) => [cert, key]), ...(clientCa === undefined ? [] : [clientCa])];
  }, CERTIFICATES_EVERY_MS);

/**
 * Watches files by checking them at intervals. Change events get lost when an editor or Kubernetes replaces a file, and do not exist on
 * network drives.
 */
export class WatchedFiles {
  readonly #paths: () => readonly string[];
  readonly #lookEveryMs: number;
  /** Fingerprints of the files: as of the last reading, and as of the last check. */
  #read = '';
  #seen = '';
  #timer: NodeJS.Timeout | undefined;

  constructor(paths: () => readonly string[], lookEveryMs: number = LOOK_EVERY_MS) {
    this.#paths = paths;
    this.#lookEveryMs = lookEveryMs;
  }

  /** Call it before the files are read. Anything written after that counts as a change. */
  async mark(): Promise<void> {
    this.#read = await this.#look();
  }

  /** Calls back when a file has changed. */
  watch(changed: () => void): void {
    this.#timer = setTimeout(async () => {
      const now = await this.#look();
      if (this.#timer === undefined) return;
      // While a file is being written, it differs at each check. It is read when two checks agree.
      const isAtRest = now === this.#seen;
      this.#seen = now;
      if (isAtRest && now !== this.#read) {
        this.#read = now;
        changed();
      }
      this.watch(changed);
    }, this.#lookEveryMs).unref();
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  async #look(): Promise<string> {
    return (await Promise.all(this.#paths().map(signatureOf))).join('\n');
  }
}

async function signatureOf(path: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
    return [dev, ino, size, mtimeNs, ctimeNs].join();
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code);
  }
}
