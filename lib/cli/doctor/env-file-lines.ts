import { type Finding, warning } from './finding.ts';

/** A variable as Node reads it (`util.parseEnv()`). */
const ASSIGNMENT = /^\s*(?:export\s+)?([^\s=#][^=]*?)\s*=\s*(.*)$/;
const NOTHING = /^\s*(?:#|$)/;

/** Lines of an `--env-file` that have no effect. Their text is not shown, because it may be a secret. */
export function linesWithoutEffect(text: string): readonly Finding[] {
  const findings: Finding[] = [];
  const linesOf = new Map<string, number[]>();
  const lines = text.split(/\r?\n/);
  for (let index = 0; index < lines.length; index += 1) {
    const line = lines[index] as string;
    const [, name, value = ''] = ASSIGNMENT.exec(line) ?? [];
    if (name !== undefined) {
      linesOf.set(name, [...(linesOf.get(name) ?? []), index + 1]);
      index += furtherLines(value, lines.slice(index + 1));
    } else if (!NOTHING.test(line)) {
      findings.push(
        warning(`line ${index + 1} of the file is no NAME=value, and has no effect`, 'Correct or remove it'),
      );
    }
  }
  for (const [name, at] of linesOf) {
    if (at.length === 1) continue;
    findings.push(
      warning(`${name} is in lines ${at.join(', ')} of the file: the last one counts`, 'Remove the others'),
    );
  }
  return findings;
}

/** How many further lines belong to a value in quotes; none if the quotes are not closed, because then they are a part of the value. */
function furtherLines(value: string, rest: readonly string[]): number {
  const quote = /^["'`]/.exec(value)?.[0];
  if (quote === undefined || value.includes(quote, 1)) return 0;
  return rest.findIndex((line) => line.includes(quote)) + 1;
}
