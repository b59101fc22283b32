import type { Sample } from './metric.ts';

/** The key of one backend of one service, because several services may have the same backend. Origins contain no line break. */
export const backendKey = (service: string, backend: string): string => `${service}\n${backend}`;

/** A count for each combination of label values that has occurred. For rare events, because it joins the values to a key. */
export class Counts {
  readonly #names: readonly string[];
  readonly #cells = new Map<string, { values: readonly string[]; count: number }>();

  constructor(...names: string[]) {
    this.#names = names;
  }

  add(...values: string[]): void {
    this.addMany(1, ...values);
  }

  addMany(count: number, ...values: string[]): void {
    const key = values.join('\n');
    const cell = this.#cells.get(key);
    if (cell === undefined) this.#cells.set(key, { values, count });
    else cell.count += count;
  }

  /** Forgets the counts whose first two labels, as a `backendKey()`, no longer exist. */
  prune(existing: ReadonlySet<string>): void {
    for (const [key, { values }] of this.#cells) {
      if (!existing.has(backendKey(values[0] as string, values[1] as string))) this.#cells.delete(key);
    }
  }

  *samples(): Iterable<Sample> {
    for (const { values, count } of this.#cells.values()) {
      yield { labels: Object.fromEntries(this.#names.map((name, index) => [name, values[index] ?? ''])), value: count };
    }
  }
}
