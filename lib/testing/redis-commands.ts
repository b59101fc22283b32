/** What a client of Redis has sent: its whole commands, and the bytes of one that is not whole yet. */
export interface SentCommands {
  readonly commands: readonly (readonly string[])[];
  readonly rest: Buffer;
}

interface Element<T> {
  readonly value: T;
  /** Where the next one begins. */
  readonly end: number;
}

/** No whole element yet. */
const PART = Symbol('part');
type PartOr<T> = typeof PART | Element<T> | undefined;

/** Reads commands as clients send them, arrays of bulk strings (RESP); nothing when the bytes are something else. */
export function takeCommands(bytes: Buffer): SentCommands | undefined {
  const commands: (readonly string[])[] = [];
  let from = 0;
  while (from < bytes.length) {
    const command = commandAt(bytes, from);
    if (command === undefined) return undefined;
    if (command === PART) break;
    commands.push(command.value);
    from = command.end;
  }
  return { commands, rest: bytes.subarray(from) };
}

function commandAt(bytes: Buffer, from: number): PartOr<readonly string[]> {
  const count = numberAt(bytes, from, '*');
  if (count === undefined || count === PART) return count;
  const parts: string[] = [];
  let at = count.end;
  while (parts.length < count.value) {
    const length = numberAt(bytes, at, '$');
    if (length === undefined || length === PART) return length;
    const end = length.end + length.value;
    // Behind the string stands a line end.
    if (bytes.length < end + 2) return PART;
    parts.push(bytes.toString('utf8', length.end, end));
    at = end + 2;
  }
  return { value: parts, end: at };
}

function numberAt(bytes: Buffer, from: number, mark: '*' | '$'): PartOr<number> {
  if (from < bytes.length && bytes[from] !== mark.charCodeAt(0)) return undefined;
  const end = bytes.indexOf('\r\n', from);
  if (end === -1) return PART;
  const digits = bytes.toString('latin1', from + 1, end);
  return /^\d{1,9}$/.test(digits) ? { value: Number(digits), end: end + 2 } : undefined;
}
