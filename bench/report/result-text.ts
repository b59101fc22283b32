import { spreadOf } from './statistics.ts';

/** Members that are series of measurements, one per round. */
const SERIES: ReadonlySet<string> = new Set(['samples', 'slices', 'drills']);
const DIGITS = 5;
const LINE = 120;

type Json = Readonly<Record<string, unknown>>;

/**
 * A result as the text of a file that people read and compare: each series as its length, medians and quartiles,
 * numbers with five digits, one line for each target.
 */
export function resultText(result: object): string {
  return `${lines(condensed(result), '')}\n`;
}

function condensed(value: unknown): unknown {
  if (typeof value === 'number') return Number.isInteger(value) ? value : Number(value.toPrecision(DIGITS));
  if (Array.isArray(value)) return value.map(condensed);
  if (!isRecord(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [
      name,
      SERIES.has(name) && Array.isArray(member)
        ? condensed({ count: member.length, ...spreads(member) })
        : condensed(member),
    ]),
  );
}

/** Of the numbers that all records of a series have, at any depth; a single record stays as it is. */
function spreads(records: readonly Json[]): Json {
  const [first = {}, ...others] = records;
  if (others.length === 0) return first;
  const found: [string, unknown][] = [];
  for (const name of Object.keys(first)) {
    const values = records.map((record) => record[name]);
    if (values.every((value) => typeof value === 'number')) found.push([name, spreadOf(values)]);
    else if (values.every(isRecord)) found.push([name, spreads(values)]);
  }
  return Object.fromEntries(found);
}

function isRecord(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Elements of arrays are on a line each, whatever its length. */
function lines(value: unknown, indent: string): string {
  const inOne = JSON.stringify(value);
  if (inOne === undefined || inOne.length + indent.length <= LINE) return inOne ?? 'null';
  const inner = `${indent}  `;
  if (Array.isArray(value)) {
    return `[\n${value.map((one) => inner + JSON.stringify(one)).join(',\n')}\n${indent}]`;
  }
  if (!isRecord(value)) return inOne;
  const members = Object.entries(value)
    .filter(([, member]) => member !== undefined)
    .map(([name, member]) => `${inner}${JSON.stringify(name)}: ${lines(member, inner)}`);
  return `{\n${members.join(',\n')}\n${indent}}`;
}
