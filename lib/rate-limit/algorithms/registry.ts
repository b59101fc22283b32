import type { Algorithm } from './algorithm.ts';
import { AlgorithmScripts } from './algorithm-scripts.ts';
import { fixedWindow } from './fixed-window.ts';
import { slidingWindow } from './sliding-window.ts';
import { tokenBucket } from './token-bucket.ts';

/**
 * How requests are counted.
 *
 * - `sliding-window`: in the window that ends now, of which the older part is estimated.
 * - `token-bucket`: up to `burst` requests at once, refilled evenly at `limit` per window.
 * - `fixed-window`: in the window that a client's first request has started, in Redis by rate-limit-redis.
 */
export type AlgorithmName = 'sliding-window' | 'fixed-window' | 'token-bucket';

/** All algorithms. Options, variables, the CLI, stores and tests read their names and properties here. */
export const ALGORITHMS: Readonly<Record<AlgorithmName, Algorithm>> = Object.freeze({
  'sliding-window': slidingWindow,
  'fixed-window': fixedWindow,
  'token-bucket': tokenBucket,
});

/** The names of the algorithms of `ipRateLimit()`. */
export const rateLimitAlgorithms = Object.freeze(Object.keys(ALGORITHMS) as AlgorithmName[]);

/** The algorithms that take the option `burst`, for messages. */
export const NAMES_WITH_BURST = rateLimitAlgorithms.filter((name) => ALGORITHMS[name].isRefilled).join(' or ');

/** The name of an algorithm that counts several windows at once. */
export type WindowsAlgorithmName = Exclude<AlgorithmName, 'fixed-window'>;

/** The algorithms that take the option `windows`. */
export const algorithmsWithWindows = Object.freeze(
  rateLimitAlgorithms.filter(
    (name): name is WindowsAlgorithmName => ALGORITHMS[name].redis instanceof AlgorithmScripts,
  ),
);
