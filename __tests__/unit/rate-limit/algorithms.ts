import type { Algorithm } from '../../../lib/rate-limit/algorithms/algorithm.ts';
import { fixedWindow } from '../../../lib/rate-limit/algorithms/fixed-window.ts';
import { slidingWindow } from '../../../lib/rate-limit/algorithms/sliding-window.ts';
import { tokenBucket } from '../../../lib/rate-limit/algorithms/token-bucket.ts';

/** Each by its name, for `test.each()`. */
export const ALGORITHMS: readonly (readonly [string, Algorithm])[] = [
  ['sliding-window', slidingWindow],
  ['token-bucket', tokenBucket],
  ['fixed-window', fixedWindow],
];
