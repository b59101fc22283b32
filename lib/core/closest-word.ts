/** With more changes than this, a word counts as another word. */
const MOST_CHANGES = 3;
/** The part of the longer word that must be the same. */
const LEAST_ALIKE = 0.4;

/** The word that a misspelt one most likely stands for; `undefined` if no word is similar. */
export function closestWord(given: string, words: Iterable<string>): string | undefined {
  let closest: string | undefined;
  let least = MOST_CHANGES + 1;
  for (const word of words) {
    const length = Math.max(given.length, word.length);
    if (Math.abs(given.length - word.length) >= least) continue;
    const [one, other] = [given.toLowerCase(), word.toLowerCase()];
    if (isFar(one, other, least)) continue;
    const changes = changesBetween(one, other);
    if (changes >= least || (length - changes) / length <= LEAST_ALIKE) continue;
    closest = word;
    least = changes;
  }
  return closest;
}

/**
 * Whether `other` lacks so many letters of a word that there are at least `limit` changes between the two. This is much cheaper than counting
 * the changes: at its start, a gateway compares all variables of its environment with its own.
 */
function isFar(one: string, other: string, limit: number): boolean {
  let rest = other;
  let missing = 0;
  for (const letter of one) {
    if (rest.includes(letter)) rest = rest.replace(letter, '');
    else missing += 1;
    if (missing >= limit) return true;
  }
  return false;
}

/** Number of letters to add, remove, replace or swap with the next one: the optimal string alignment distance. */
function changesBetween(one: string, other: string): number {
  let before: number[] = [];
  let last = Array.from({ length: other.length + 1 }, (_, j) => j);
  for (let i = 1; i <= one.length; i++) {
    const row = [i];
    for (let j = 1; j <= other.length; j++) {
      const same = one[i - 1] === other[j - 1];
      let changes = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + (same ? 0 : 1));
      if (one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1]) changes = Math.min(changes, before[j - 2]! + 1);
      row.push(changes);
    }
    before = last;
    last = row;
  }
  return last[other.length] as number;
}
