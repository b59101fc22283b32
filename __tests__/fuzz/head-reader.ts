export type Field = readonly [name: string, value: string];

export interface Head {
  readonly startLine: string;
  /** Names in lower case, in order, repeats kept. */
  readonly fields: readonly Field[];
  /** Where what follows the head begins. */
  readonly next: number;
}

/** What is wrong with a message, to a reader without any leniency. */
export class ReadError extends Error {}

/** More bytes could still make it whole. */
export const INCOMPLETE = Symbol('incomplete');

const TOKEN = /^[\w!#$%&'*+.^`|~-]+$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
export const CONTROL = /[\x00-\x08\x0a-\x1f\x7f]/;

/** The head at an offset, by the letter of RFC 9112 §2–5: lines end in CRLF, no folds, no space before a colon. */
export function readHead(bytes: Buffer, at: number): Head | typeof INCOMPLETE {
  const end = bytes.indexOf('\r\n\r\n', at);
  if (end === -1) return INCOMPLETE;
  const [startLine = '', ...lines] = bytes.toString('latin1', at, end).split('\r\n');
  return { startLine, fields: lines.map(readField), next: end + 4 };
}

function readField(line: string): Field {
  const colon = line.indexOf(':');
  if (colon === -1) throw new ReadError('a field line without a colon');
  const name = line.slice(0, colon);
  if (!TOKEN.test(name)) throw new ReadError('a field name that is no token');
  const value = line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, '');
  if (CONTROL.test(value)) throw new ReadError('control characters in a field value');
  return [name.toLowerCase(), value];
}

export function all(fields: readonly Field[], name: string): string[] {
  return fields.filter(([key]) => key === name).map(([, value]) => value);
}

/** Where a start line can begin: llhttp skips any CR and LF before it, and so does RFC 9112 §2.2 with empty lines. */
export function skipLineEnds(bytes: Buffer, at: number): number {
  let next = at;
  while (bytes[next] === 13 || bytes[next] === 10) next += 1;
  return next;
}

/** The members of a list field, in lower case. */
export function members(fields: readonly Field[], name: string): string[] {
  return all(fields, name)
    .flatMap((value) => value.split(','))
    .map((member) => member.replace(/^[ \t]+|[ \t]+$/g, '').toLowerCase());
}

/** What is behind a nonce: the same text on both sides of a gateway, whatever came before it on the wire. */
export function nonceOf(fields: readonly Field[]): string {
  const value = all(fields, 'x-nonce').join(', ');
  return /^(?=.{1,100}$)[\w-]+(?:, [\w-]+)*$/.test(value) ? value : 'none';
}
