import { readFile, stat } from 'node:fs/promises';
import type { Config } from './config.ts';

/** Far more than a thousand backends or routes take. */
const MAX_BYTES = 1_048_576;

const LOOK_EVERY_MS = 500;

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EACCES: 'this user may not read it',
  EISDIR: 'it is a directory',
};

/**
 * The text of a file of a bounded size.
 *
 * @throws {Error} whose message is the rest of a sentence that begins with the name of the file.
 */
export async function readBounded(path: string, maxBytes: number = MAX_BYTES): Promise<string> {
  let bytes: Buffer;
  try {
    const found = await stat(path);
    // A pipe without a writer would never end.
    if (!found.isFile() && !found.isDirectory()) throw new Error('it is not a regular file');
    if (found.size > maxBytes) throw new Error(`it is larger than ${maxBytes} bytes`);
    bytes = await readFile(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw new Error(`cannot be read: ${REASONS[code] ?? message}`, { cause: error });
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new Error('it is not UTF-8', { cause });
  }
}

/** Certificate and key are two files: both have come to rest by then, as a rule. */
const CERTIFICATES_EVERY_MS = 2_000;

/** Those of the listener's certificates, whichever are in use. */
export const certificateFiles = (config: () => Pick<Config, 'tls' | 'clientCa'>): WatchedFiles =>
  new WatchedFiles(() => {
    const { tls = [], clientCa } = config();
    return [...tls.flatMap(({ cert, key }) => [cert, key]), ...(clientCa === undefined ? [] : [clientCa])];
  }, CERTIFICATES_EVERY_MS);

/**
 * Watches files by looking at them, not by asking for events: those are lost when an editor or Kubernetes puts another
 * file in a file's place, and do not exist on network drives.
 */
export class WatchedFiles {
  readonly #paths: () => readonly string[];
  readonly #lookEveryMs: number;
  /** What told the files that were read from others, and those that were last looked at. */
  #read = '';
  #seen = '';
  #timer: NodeJS.Timeout | undefined;

  constructor(paths: () => readonly string[], lookEveryMs: number = LOOK_EVERY_MS) {
    this.#paths = paths;
    this.#lookEveryMs = lookEveryMs;
  }

  /** To be called before the files are read: what is written later is a change. */
  async mark(): Promise<void> {
    this.#read = await this.#look();
  }

  /** Calls back when a file has become another one. */
  watch(changed: () => void): void {
    this.#timer = setTimeout(async () => {
      const now = await this.#look();
      if (this.#timer === undefined) return;
      // A file that is being written is another one at each look: it is read once it has come to rest.
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
