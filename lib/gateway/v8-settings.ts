import { setFlagsFromString } from 'node:v8';

/**
 * Makes V8 create all new objects in the young generation. By default it creates an object in the old one if earlier objects from the same
 * place in the code lived long. Under load, 5 of 24 gateways then kept nearly all objects of requests until the next full collection; with
 * this setting, 0 of 27 did (docs/performance.md). If V8 removes the flag, it prints that on stderr.
 */
export function keepNewObjectsYoung(): void {
  setFlagsFromString('--no-allocation-site-pretenuring');
}

/** V8's default: bytes of the largest function that it optimises. */
const MAX_OPTIMISED_BYTES = 61_440;

/**
 * Saves memory and processor time until {@link setForTraffic}, because objects and code of a start differ from those of traffic:
 *
 * - V8's young generation keeps its first size, 1 MB. The objects of a start stay, so a young generation that grows to 16 MB for them is of no
 *   use afterwards, and V8 releases it late.
 * - TurboFan, the last of V8's compilers, optimises nothing. In a start it would optimise three functions that resolve paths of modules, which costs
 *   more than it gains, and 5 MB of the compiler.
 *
 * @param readsFile Whether the start reads a file of services and routes. Then TurboFan may optimise: what it skips now it would skip in reloads,
 *   too, and reading a long file would take twice as long.
 */
export function setForStart(readsFile = false): void {
  setFlagsFromString('--semi-space-growth-factor=1');
  // With `--no-turbofan`, functions that were called often during the start would never be optimised.
  if (!readsFile) setFlagsFromString('--max-optimized-bytecode-size=0');
}

/** V8's defaults: the young generation grows with the load, and TurboFan optimises. */
export function setForTraffic(): void {
  setFlagsFromString('--semi-space-growth-factor=2');
  setFlagsFromString(`--max-optimized-bytecode-size=${MAX_OPTIMISED_BYTES}`);
}
