import { manifest } from './version.ts';

/** The oldest Node that the package supports, like `22.19`. */
export const leastNode = (): string => manifest().engines.node.replace(/^>=/, '');

/** Whether `version` is as new as that. */
export function isSupportedNode(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [leastMajor = 0, leastMinor = 0] = leastNode().split('.').map(Number);
  return major > leastMajor || (major === leastMajor && minor >= leastMinor);
}
