import { existsSync, readdirSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { closestWord } from '../../../core/closest-word.ts';

/** Paths are relative to the working directory; people also write them relative to the file that they are in, or misspell them. */
export function meantFile(missing: string, writtenIn: string): string {
  const meant = besideFile(missing, writtenIn) ?? misspelt(missing);
  return meant === undefined ? ` (in ${process.cwd()})` : `: did you mean ${meant}?`;
}

function besideFile(missing: string, writtenIn: string): string | undefined {
  const path = join(dirname(writtenIn), missing);
  return existsSync(path) ? path : undefined;
}

function misspelt(missing: string): string | undefined {
  try {
    const name = closestWord(basename(missing), readdirSync(dirname(missing)));
    return name === undefined ? undefined : join(dirname(missing), name);
  } catch {
    // There is no such folder either.
    return undefined;
  }
}
