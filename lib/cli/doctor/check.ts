import type { Config } from '../../gateway/config/config.ts';

/** `note` is for what nobody can judge but the operator; only `fail` makes the exit code 1. */
export type Level = 'ok' | 'note' | 'warn' | 'fail';

/** What one look at one thing has shown. */
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
  /** The address of the other end of the connection. */
  readonly peer: string;
}

/** What the checks look at. */
export interface Patient {
  readonly config: Config;
  readonly sample: Sample | undefined;
}

/** One thing that is looked at, in bounded time. It reports what is wrong, and rejects only for a bug of its own. */
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
