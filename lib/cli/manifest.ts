import { existsSync, readFileSync } from 'node:fs';

interface Manifest {
  readonly version: string;
  readonly engines: { readonly node: string };
  readonly devDependencies: Readonly<Record<string, string>>;
}

/** The `package.json` of this package: the nearest one, from source and from built files. */
export function manifest(): Manifest {
  // Not with findPackageJSON(): an old Node lacks it, and must get as far as the message that it is too old.
  let folder = new URL('.', import.meta.url);
  while (!existsSync(new URL('package.json', folder))) folder = new URL('..', folder);
  return JSON.parse(readFileSync(new URL('package.json', folder), 'utf8')) as Manifest;
}

/** The oldest Node that the package supports, like `22.19`. */
export const leastNode = (): string => manifest().engines.node.replace(/^>=/, '');

/** Whether `version` is as new as that. */
export function isSupportedNode(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [leastMajor = 0, leastMinor = 0] = leastNode().split('.').map(Number);
  return major > leastMajor || (major === leastMajor && minor >= leastMinor);
}
