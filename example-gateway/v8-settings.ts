import { setFlagsFromString } from 'node:v8';

/**
 * Has V8 make all new objects in the young generation. It makes some in the old one at once where those of the same place in the
 * code lived long before: arrays of connections did, and those of requests from the same place then do not, but keep all that
 * they point to until the next full collection. A gateway in which that had come about took 10 to 30 % more CPU time until
 * its end (docs/performance.md). V8 has no other way to be told, and says so on stderr should the flag go.
 */
export function keepNewObjectsYoung(): void {
  setFlagsFromString('--no-allocation-site-pretenuring');
}
