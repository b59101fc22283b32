import { readFileSync } from 'node:fs';
import { parseEnv } from 'node:util';
import { suggestion } from '../suggestion.ts';
import { type Finding, warning } from './check.ts';

/**
 * Names in an `--env-file` that are no variable of the gateway, but nearly one. The gateway itself cannot refuse them: what
 * else is in an environment is not its business.
 */
export async function misspeltVariables(path: string): Promise<readonly Finding[]> {
  const { VARIABLES } = await import('../../gateway/config/config.ts');
  const known = Object.keys(VARIABLES);
  const findings: Finding[] = [];
  for (const name of Object.keys(parseEnv(readFileSync(path, 'utf8')))) {
    if (known.includes(name)) continue;
    const meant = suggestion(
      name,
      known.map((one) => one.toLowerCase()),
    );
    if (meant === undefined) continue;
    findings.push(warning(`${name} is no variable of the gateway`, `If ${meant.toUpperCase()} is meant, write that`));
  }
  return findings;
}
