import type { Config } from '../config/config.ts';
import { problemsOf } from '../start-error.ts';

/** A valid change that is ready to apply. */
export interface Change {
  /** For the log. */
  readonly facts: object;
  /** The new values of the configuration. */
  readonly config: Partial<Config>;
  /** Must not fail. */
  apply(): void;
  /** Called instead of `apply()` when another part has problems. */
  discard?(): void;
}

/** A part of the gateway that a reload can change. */
export interface ReloadPart {
  /** Resolves to `undefined` without a change. Rejects when a value cannot be used. */
  prepare(next: Config): Promise<Change | undefined>;
}

/** The part of the configuration that is read again: everything, or only changed files. */
export type ReloadScope = 'all' | 'backends' | 'certificates';

/** The prepared changes of all parts. Call `apply()` or `discard()`. */
export interface PreparedReload {
  /** If there are any, `apply()` must not be called. */
  readonly problems: readonly string[];
  /** For the log. */
  readonly facts: object;
  /** @returns the new values of the configuration. */
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
