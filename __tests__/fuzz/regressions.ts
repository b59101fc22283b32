import { readdirSync, readFileSync } from 'node:fs';

export type Side = 'client' | 'backend';

/** What was found once: the bytes, and what was wrong with them. */
export interface Regression {
  readonly name: string;
  readonly side: Side;
  readonly why: string;
  /** As latin1 text. */
  readonly bytes: string;
}

export function readRegressions(side: Side): Regression[] {
  const folder = new URL('regressions/', import.meta.url);
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .sort()
    .map((name) => ({ name, ...JSON.parse(readFileSync(new URL(name, folder), 'utf8')) }) as Regression)
    .filter((one) => one.side === side);
}
