import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { pipeline } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { InputError } from '../command.ts';

/** Longest line, in characters. Access logs have no longer ones. */
const LONGEST_LINE = 65_536;
const NEWLINE = 10;

export interface LogSource {
  readonly name: string;
  /** Size of the file in bytes; `undefined` for standard input. */
  readonly bytes: number | undefined;
  readonly stream: NodeJS.ReadableStream;
  /** Bytes of the file that were read so far (compressed, if the file is). */
  readonly bytesRead: () => number;
}

/**
 * Opens a file, uncompressed or, by its extension, gzipped; or standard input for `-`.
 *
 * @throws {InputError} if there is no such file
 */
export async function openLog(name: string, stdin: NodeJS.ReadableStream): Promise<LogSource> {
  if (name === '-') return { name: 'standard input', bytes: undefined, stream: stdin, bytesRead: () => 0 };
  let bytes: number;
  try {
    const found = await stat(name);
    if (found.isDirectory()) throw new Error('it is a folder');
    bytes = found.size;
  } catch (error) {
    throw cannotRead(name, error);
  }
  const file = createReadStream(name, { highWaterMark: 262_144 });
  const bytesRead = (): number => file.bytesRead;
  if (!name.endsWith('.gz')) return { name, bytes, stream: file, bytesRead };
  // The pipeline passes an error of the file on to the reader.
  const stream = pipeline(file, createGunzip({ chunkSize: 262_144 }), () => {});
  return { name, bytes, stream, bytesRead };
}

function cannotRead(name: string, error: unknown): InputError {
  return new InputError(`cannot read ${name}: ${(error as Error).message}`, { cause: error });
}

/**
 * The lines of a log, in batches, without line ends. A line that is too long becomes `undefined`, so at most one line and one chunk are in
 * memory.
 *
 * @throws {InputError} if reading fails
 */
export async function* linesOf({ name, stream }: LogSource): AsyncGenerator<(string | undefined)[]> {
  let rest: Buffer = Buffer.alloc(0);
  let skipping = false;
  try {
    for await (const data of stream) {
      const chunk = Buffer.from(data as Buffer);
      const lines: (string | undefined)[] = [];
      let start = 0;
      for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, start)) {
        const piece = chunk.subarray(start, end);
        if (!skipping) lines.push(textOf(rest.length === 0 ? piece : Buffer.concat([rest, piece])));
        skipping = false;
        rest = Buffer.alloc(0);
        start = end + 1;
      }
      if (!skipping) rest = Buffer.concat([rest, chunk.subarray(start)]);
      if (rest.length > LONGEST_LINE) {
        lines.push(undefined);
        skipping = true;
        rest = Buffer.alloc(0);
      }
      if (lines.length > 0) yield lines;
    }
  } catch (error) {
    throw cannotRead(name, error);
  }
  if (rest.length > 0) yield [textOf(rest)];
}

function textOf(line: Buffer): string | undefined {
  if (line.length > LONGEST_LINE) return undefined;
  return line.toString('utf8', 0, line.at(-1) === 13 ? line.length - 1 : line.length);
}
