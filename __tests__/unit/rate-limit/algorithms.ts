import type { Algorithm } from '../../../lib/rate-limit/algorithms/algorithm.ts';
import { ALGORITHMS as ALL } from '../../../lib/rate-limit/algorithms/registry.ts';

/** Each by its name, for `test.each()`. */
export const ALGORITHMS: readonly (readonly [string, Algorithm])[] = Object.entries(ALL);
