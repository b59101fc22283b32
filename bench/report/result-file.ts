import { mkdirSync, writeFileSync } from 'node:fs';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const FOLDER = new URL('../results/', import.meta.url);

/** A file below `bench/results/`. */
export function resultFile(name: string): string {
  mkdirSync(FOLDER, { recursive: true });
  return fileURLToPath(new URL(name, FOLDER));
}

/** @returns where it was written, as seen from the current folder. */
export function writeResult(name: string, content: unknown): string {
  const file = resultFile(name);
  writeFileSync(file, `${JSON.stringify(content, undefined, 2)}\n`);
  return relative(process.cwd(), file);
}
