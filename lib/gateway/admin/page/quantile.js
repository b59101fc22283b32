/**
 * Estimates a quantile from counts per bucket, as Prometheus does: evenly spread within a bucket, and of the last one only
 * its lower bound is known. Nothing without counts.
 */
export function quantile(counts, boundsMs, part) {
  const total = counts.reduce((sum, value) => sum + value, 0);
  if (total === 0) return undefined;
  const rank = part * total;
  let below = 0;
  for (let index = 0; index < boundsMs.length; index += 1) {
    const inside = counts[index];
    if (below + inside >= rank && inside > 0) {
      const from = index === 0 ? 0 : boundsMs[index - 1];
      return from + ((boundsMs[index] - from) * (rank - below)) / inside;
    }
    below += inside;
  }
  return boundsMs.at(-1);
}
