import type { Config } from '../config/config.ts';
import { problemsOf } from '../start-error.ts';

/** Something that was read, found good and not yet put to use. */
export interface Change {
  /** For the log. */
  readonly facts: object;
  /** The part of the configuration that is in force with it. */
  readonly config: Partial<Config>;
  /** Must not fail. */
  apply(): void;
  /** Instead of `apply`, when something else was bad. */
  discard?(): void;
}

/** One thing that can change while the gateway runs. */
export interface ReloadPart {
  /** Nothing when all stays as it is. Rejects when something cannot be used. */
  prepare(next: Config): Promise<Change | undefined>;
}

/** What is read again: everything, or only files that have changed. */
export type ReloadScope = 'all' | 'backends' | 'certificates';

/** All that was read, good or not. One of its two functions has to be called. */
export interface PreparedReload {
  /** Nothing of it may be applied when there is any. */
  readonly problems: readonly string[];
  /** For the log. */
  readonly facts: object;
  /** @returns the parts of the configuration that are in force now. */
  apply(): Partial<Config>;
  discard(): void;
}

export async function prepareReload(parts: readonly ReloadPart[], next: Config): Promise<PreparedReload> {
  const changes: Change[] = [];
  const problems: string[] = [];
  for (const prepared of await Promise.allSettled(parts.map((part) => part.prepare(next)))) {
    if (prepared.status === 'rejected') problems.push(...problemsIn(prepared.reason));
    else if (prepared.value !== undefined) changes.push(prepared.value);
  }
  return {
    problems,
    facts: Object.assign({}, ...changes.map(({ facts }) => facts)),
    apply() {
      for (const change of changes) change.apply();
      return Object.assign({}, ...changes.map(({ config }) => config));
    },
    discard() {
      for (const change of changes) change.discard?.();
    },
  };
}

export const problemsIn = (error: unknown): readonly string[] => problemsOf(error) ?? [String(error)];
