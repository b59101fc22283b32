import { MAX_DELAY_MS } from './options.ts';

/** A duration, shortened or lengthened at random by up to `share` of it, in whole milliseconds that a timer can hold. */
export function jittered(ms: number, share: number): number {
  return Math.min(MAX_DELAY_MS, Math.round(ms * (1 + share * (2 * Math.random() - 1))));
}
