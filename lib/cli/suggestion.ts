/** What somebody may have meant by a word that is none of those known; nothing when none is near. */
export function suggestion(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  // A third of the letters may be wrong: beyond that it is another word.
  let least = Math.max(1, Math.floor(word.length / 3)) + 1;
  for (const one of known) {
    const distance = editDistance(word.toLowerCase(), one);
    if (distance >= least) continue;
    least = distance;
    best = one;
  }
  return best;
}

/** How many letters must be changed, added, left out or swapped with the next one. */
function editDistance(from: string, to: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: to.length + 1 }, (_, i) => i);
  for (let i = 1; i <= from.length; i++) {
    const row = [i];
    for (let j = 1; j <= to.length; j++) {
      const cost = from[i - 1] === to[j - 1] ? 0 : 1;
      let least = Math.min((last[j] as number) + 1, (row[j - 1] as number) + 1, (last[j - 1] as number) + cost);
      const swapped = i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1];
      if (swapped) least = Math.min(least, (beforeLast[j - 2] as number) + 1);
      row.push(least);
    }
    beforeLast = last;
    last = row;
  }
  return last[to.length] as number;
}
