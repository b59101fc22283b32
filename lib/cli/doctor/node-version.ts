import { manifest } from '../version.ts';
import { type Check, failure, ok } from './check.ts';

const numbers = (version: string): number[] => version.split('.').map(Number);

/** Whether this Node is one that the package supports. */
export const nodeVersion: Check = {
  name: 'node',
  async run() {
    const least = manifest().engines.node.replace(/^>=/, '');
    const [major = 0, minor = 0] = numbers(process.versions.node);
    const [leastMajor = 0, leastMinor = 0] = numbers(least);
    if (major > leastMajor || (major === leastMajor && minor >= leastMinor))
      return [ok(`Node ${process.versions.node}`)];
    return [failure(`Node ${process.versions.node} is older than ${least}`, `Install Node ${least} or newer`)];
  },
};
