import type { Config } from '../../gateway/config/config.ts';
import type { Streams } from '../command.ts';
import { oneLine, styleFor } from '../terminal.ts';

/** The operator has to judge a `note`. Only `fail` makes the exit code 1. */
export type Level = 'ok' | 'note' | 'warn' | 'fail';

/** One result of a check. */
export interface Finding {
  readonly level: Level;
  /** One sentence, without the full stop. */
  readonly what: string;
  /** What to do about it. */
  readonly fix?: string;
}

/** A request as a proxy in front would send it. */
export interface Sample {
  /** The value of its `X-Forwarded-For`; empty for none. */
  readonly forwardedFor: string;
  /** The address of the peer. */
  readonly peer: string;
}

/** The input of the checks. */
export interface Patient {
  readonly config: Config;
  readonly sample: Sample | undefined;
}

/** One check, which takes a bounded time. It reports what is wrong, and rejects only because of a bug. */
export interface Check {
  readonly name: string;
  run(patient: Patient): Promise<readonly Finding[]>;
}

export const ok = (what: string): Finding => ({ level: 'ok', what });
export const note = (what: string, fix?: string): Finding => finding('note', what, fix);
export const warning = (what: string, fix?: string): Finding => finding('warn', what, fix);
export const failure = (what: string, fix?: string): Finding => finding('fail', what, fix);

const finding = (level: Level, what: string, fix: string | undefined): Finding =>
  fix === undefined ? { level, what } : { level, what, fix };

/** A check with its findings. */
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

/** The report as text. It has colours only on a terminal, and never with NO_COLOR. */
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
