import { readFileSync } from 'node:fs';
import { findPackageJSON } from 'node:module';

interface Manifest {
  readonly version: string;
  readonly engines: { readonly node: string };
  readonly devDependencies: Readonly<Record<string, string>>;
}

/** What this package says of itself; compiled or not, it is the nearest one. */
export function manifest(): Manifest {
  return JSON.parse(readFileSync(findPackageJSON(import.meta.url) as string, 'utf8')) as Manifest;
}
