import { readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { type Finding, warning } from './check.ts';

/** Names in an `--env-file` that are no variable of the gateway, but nearly one. */
export async function misspeltVariables(path: string): Promise<readonly Finding[]> {
  const gateway = await import('../../gateway/config/misspelt-variables.ts');
  return gateway
    .misspeltVariables(parseEnv(readFileSync(path, 'utf8')))
    .map(({ name, meant }) => warning(`${name} is no variable of the gateway`, `If ${meant} is meant, write that`));
}
