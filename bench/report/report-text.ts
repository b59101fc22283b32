import { headLines, type RunFacts } from './run-facts.ts';
import { type Column, renderTable } from './table.ts';

interface Named {
  readonly name: string;
  readonly title: string;
}

interface Fallible extends Named {
  readonly failure: string | undefined;
}

/** A table of targets with what was done above it, and what they are made of and what a reader must know below it. */
export function reportText<Row extends Named>(
  facts: RunFacts,
  what: string,
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  notes: readonly string[] = [],
): string {
  return [
    ...headLines(facts, what),
    '',
    renderTable(columns, rows),
    '',
    ...rows.map(({ name, title }) => `${name}: ${title}`),
    ...notes.map((note) => `! ${note}`),
  ].join('\n');
}

export const TARGET: Column<Named> = { head: 'target', align: 'left', cell: ({ name }) => name };

export const STATUS: Column<Fallible> = {
  head: 'status',
  align: 'left',
  cell: ({ failure }) => (failure === undefined ? 'ok' : 'FAILED'),
};

export function failureNotes(rows: readonly Fallible[]): string[] {
  return rows.flatMap(({ name, failure }) => (failure === undefined ? [] : [`${name}: ${failure}`]));
}
