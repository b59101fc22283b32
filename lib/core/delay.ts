/** Node's longest timer, in milliseconds (31 bits). With a longer delay, a timer would fire at once. */
export const MAX_DELAY_MS = 2 ** 31 - 1;

/** Returns a duration, shortened or lengthened at random by up to `share` of it, in whole milliseconds that a timer can hold. */
export function jittered(ms: number, share: number): number {
  return Math.min(MAX_DELAY_MS, Math.round(ms * (1 + share * (2 * Math.random() - 1))));
}
