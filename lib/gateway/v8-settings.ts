import { setFlagsFromString } from 'node:v8';

/**
 * Has V8 make all new objects in the young generation. By default it makes some in the old one, where those from the same place in the
 * code lived long before. Of 24 gateways under load 5 came into a state in which nearly all that requests had made was kept until the next
 * full collection; with this, none of 27 did (docs/performance.md). V8 says so on stderr should the flag go.
 */
export function keepNewObjectsYoung(): void {
  setFlagsFromString('--no-allocation-site-pretenuring');
}
