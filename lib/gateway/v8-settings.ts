import { setFlagsFromString } from 'node:v8';

/**
 * Has V8 make all new objects in the young generation. By default it makes some in the old one, where those from the same place in the
 * code lived long before. Of 24 gateways under load 5 came into a state in which nearly all that requests had made was kept until the next
 * full collection; with this, none of 27 did (docs/performance.md). V8 says so on stderr should the flag go.
 */
export function keepNewObjectsYoung(): void {
  setFlagsFromString('--no-allocation-site-pretenuring');
}

/**
 * Keeps V8's young generation at its first size, 1 MB, until {@link letYoungGenerationGrow}. What a start makes stays: a young
 * generation that grows to 16 MB meanwhile holds nothing of use afterwards, and is given back late.
 */
export function keepYoungGenerationSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
}

/** Lets the young generation grow with the load, by V8's default. */
export function letYoungGenerationGrow(): void {
  setFlagsFromString('--semi-space-growth-factor=2');
}
