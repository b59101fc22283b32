import type { Target } from '../harness/target.ts';

export interface Missing {
  readonly name: string;
  readonly why: string;
}

/**
 * Those that `--only` names, or all; a name with a slash is chosen by each of its parts too. Those that this machine cannot run
 * are told apart.
 *
 * @throws {Error} for names that fit nothing.
 */
export function chosenOf<T extends Target>(
  subcommand: string,
  all: readonly T[],
  only: readonly string[] | undefined,
): { targets: T[]; missing: Missing[] } {
  const fits = (name: string, wanted: string) => name === wanted || name.split('/').includes(wanted);
  const unknown = only?.filter((wanted) => !all.some(({ name }) => fits(name, wanted))) ?? [];
  if (unknown.length > 0) {
    throw new Error(`${subcommand} has no target ${unknown.join(', ')}; it has ${all.map((t) => t.name).join(', ')}`);
  }
  const chosen = all.filter(({ name }) => only?.some((wanted) => fits(name, wanted)) ?? true);
  const missing = chosen.flatMap((target) => {
    const why = target.missing?.();
    return why === undefined ? [] : [{ name: target.name, why }];
  });
  return { targets: chosen.filter(({ name }) => !missing.some((one) => one.name === name)), missing };
}

export function missingLines(missing: readonly Missing[]): string[] {
  return missing.map(({ name, why }) => `! missing: ${name}: ${why}`);
}
