import { loadEnvFile } from 'node:process';
import { InputError } from './command.ts';

/**
 * Reads variables into the environment, as `node --env-file` does: what the environment has already wins.
 *
 * @throws {InputError} for a file that cannot be read
 */
export function readEnvFile(path: string): void {
  try {
    loadEnvFile(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new InputError(`cannot read ${path}: ${code === 'ENOENT' ? 'no such file' : message}`, { cause: error });
  }
}
