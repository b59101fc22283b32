import type { Streams } from '../command.ts';
import { oneLine } from '../safe-text.ts';
import { styleFor } from '../style.ts';
import type { Finding, Level } from './check.ts';

/** What one check has found. */
export interface Section {
  readonly check: string;
  readonly findings: readonly Finding[];
}

const COLOURS = Object.freeze({ ok: 'green', note: 'cyan', warn: 'yellow', fail: 'red' } as const);
const LEVELS = Object.keys(COLOURS) as readonly Level[];

const count = (sections: readonly Section[], level: Level): number =>
  sections.reduce((sum, { findings }) => sum + findings.filter((one) => one.level === level).length, 0);

export const hasFailed = (sections: readonly Section[]): boolean => count(sections, 'fail') > 0;

/** One JSON object. */
export function jsonReport(sections: readonly Section[]): string {
  const findings = sections.flatMap(({ check, findings }) => findings.map((finding) => ({ check, ...finding })));
  const counts = Object.fromEntries(LEVELS.map((level) => [level, count(sections, level)]));
  return `${JSON.stringify({ ok: !hasFailed(sections), counts, findings }, null, 2)}\n`;
}

/** What a person reads. Colours only on a terminal, and never with NO_COLOR. */
export function textReport(sections: readonly Section[], stdout: Streams['stdout']): string {
  const style = styleFor(stdout);
  const lines: string[] = [];
  for (const { check, findings } of sections) {
    if (findings.length === 0) continue;
    lines.push(style('bold', check));
    for (const { level, what, fix } of findings) {
      lines.push(`  ${style(COLOURS[level], level.padEnd(4))}  ${oneLine(what)}`);
      if (fix !== undefined) lines.push(`        ${level === 'note' ? '' : 'To do: '}${oneLine(fix)}`);
    }
  }
  const [failures, warnings] = [count(sections, 'fail'), count(sections, 'warn')];
  const verdict = failures > 0 ? 'fail' : warnings > 0 ? 'warn' : 'ok';
  const words =
    failures + warnings === 0 ? 'All is well.' : `${plural(failures, 'failure')}, ${plural(warnings, 'warning')}.`;
  return `${lines.join('\n')}\n\n${style(COLOURS[verdict], words)}\n`;
}

const plural = (number: number, one: string): string => `${number} ${one}${number === 1 ? '' : 's'}`;
