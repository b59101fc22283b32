import { setFlagsFromString } from 'node:v8';

/**
 * Makes V8 create all new objects in the young generation. By default it creates an object in the old one if earlier objects from the same
 * place in the code lived long. Under load, 5 of 24 gateways then kept nearly all objects of requests until the next full collection; with
 * this setting, 0 of 27 did (docs/performance.md). If V8 removes the flag, it prints that on stderr.
 */
export function keepNewObjectsYoung(): void {
  setFlagsFromString('--no-allocation-site-pretenuring');
}

/**
 * Keeps V8's young generation at its first size, 1 MB, until {@link letYoungGenerationGrow}. The objects of a start stay, so a young generation
 * that grows to 16 MB for them is of no use afterwards, and V8 releases it late.
 */
export function keepYoungGenerationSmall(): void {
  setFlagsFromString('--semi-space-growth-factor=1');
}

/** Lets the young generation grow with the load, by V8's default. */
export function letYoungGenerationGrow(): void {
  setFlagsFromString('--semi-space-growth-factor=2');
}
