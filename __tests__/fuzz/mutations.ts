import type { SeededRandom } from './random.ts';

type Mutation = (bytes: Buffer, random: SeededRandom, corpus: readonly Buffer[]) => Buffer;

const BYTES = [0, 9, 10, 11, 13, 32, 44, 45, 47, 48, 58, 59, 61, 63, 92, 95, 127, 128, 255];

// biome-ignore format: a list to read at a glance
const TOKENS = [
  '\r\n', '\n', '\r', '\0', '\r\n\r\n', ' ', '\t', '0\r\n\r\n', '5\r\nhello\r\n', '\r\n ',
  'Content-Length: 5\r\n', 'Content-Length: 0\r\n', 'Transfer-Encoding: chunked\r\n', 'transfer-encoding:identity\r\n',
  'Host: evil.example\r\n', 'Connection: close\r\n', 'Connection: keep-alive, content-length, transfer-encoding\r\n',
  'Connection: Upgrade\r\nUpgrade: websocket\r\n', 'Expect: 100-continue\r\n', 'X-Forwarded-For: 6.6.6.6\r\n',
  'X_Forwarded_For: 6.6.6.6\r\n', 'Trailer: X\r\n', 'chunked', 'gzip, ', 'HTTP/1.0', 'HTTP/1.1', 'HEAD ', 'POST ', '%2e', '../',
  'GET /smuggled HTTP/1.1\r\nHost: gw.example\r\n\r\n', 'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled',
  'HTTP/1.1 100 Continue\r\n\r\n', 'HTTP/1.1 204 No Content\r\n\r\n',
].map((text) => Buffer.from(text, 'latin1'));

// biome-ignore format: a list to read at a glance
const NUMBERS = [
  '0', '00', '1', '-1', '+1', '4', '6', '7fffffff', '80000000', 'ffffffff', '4294967296', '9007199254740993',
  '18446744073709551616', 'ffffffffffffffff', '10000000000000000', '1e3', '0x5', '5 ', '٥',
].map((text) => Buffer.from(text));

const splice = (bytes: Buffer, from: number, to: number, ...put: Buffer[]) =>
  Buffer.concat([bytes.subarray(0, from), ...put, bytes.subarray(to)]);

/** Where lines begin, the first one too. */
function lineStarts(bytes: Buffer): number[] {
  const starts = [0];
  for (let at = bytes.indexOf(10); at !== -1 && starts.length < 400; at = bytes.indexOf(10, at + 1))
    starts.push(at + 1);
  return starts;
}

function range(bytes: Buffer, random: SeededRandom, longest = 40): [number, number] {
  const from = random.below(bytes.length + 1);
  return [from, Math.min(bytes.length, from + 1 + random.below(longest))];
}

function line(bytes: Buffer, random: SeededRandom): [number, number] {
  const starts = lineStarts(bytes);
  const index = random.below(starts.length);
  return [starts[index] as number, starts[index + 1] ?? bytes.length];
}

const MUTATIONS: readonly Mutation[] = [
  function flipBit(bytes, random) {
    const copy = Buffer.from(bytes);
    const at = random.below(copy.length);
    copy[at] = (copy[at] as number) ^ (1 << random.below(8));
    return copy;
  },
  function putByte(bytes, random) {
    const at = random.below(bytes.length + 1);
    return splice(bytes, at, at + random.below(2), Buffer.from([random.pick(BYTES)]));
  },
  function putToken(bytes, random) {
    const at = random.below(bytes.length + 1);
    return splice(bytes, at, at, random.pick(TOKENS));
  },
  function putLine(bytes, random) {
    const at = random.pick(lineStarts(bytes));
    return splice(bytes, at, at, random.pick(TOKENS));
  },
  (bytes, random) => splice(bytes, ...range(bytes, random)),
  (bytes, random) => splice(bytes, ...line(bytes, random)),
  function repeatRange(bytes, random) {
    const [from, to] = range(bytes, random);
    return splice(bytes, to, to, bytes.subarray(from, to));
  },
  function repeatLine(bytes, random) {
    const [from, to] = line(bytes, random);
    const at = random.pick(lineStarts(bytes));
    return splice(bytes, at, at, bytes.subarray(from, to));
  },
  function cut(bytes, random) {
    return bytes.subarray(0, random.below(bytes.length + 1));
  },
  function crossOver(bytes, random, corpus) {
    const other = random.pick(corpus);
    return Buffer.concat([
      bytes.subarray(0, random.pick(lineStarts(bytes))),
      other.subarray(random.pick(lineStarts(other))),
    ]);
  },
  function pipeline(bytes, random, corpus) {
    return Buffer.concat(random.chance(2) ? [bytes, random.pick(corpus)] : [random.pick(corpus), bytes]);
  },
  function replaceNumber(bytes, random) {
    const numbers = [...bytes.toString('latin1').matchAll(/\d+/g)];
    if (numbers.length === 0) return bytes;
    const { index, 0: text } = random.pick(numbers);
    return splice(bytes, index, index + text.length, random.pick(NUMBERS));
  },
  function changeCase(bytes, random) {
    const [from, to] = range(bytes, random);
    const text = bytes.toString('latin1', from, to);
    return splice(bytes, from, to, Buffer.from(random.chance(2) ? text.toUpperCase() : text.toLowerCase(), 'latin1'));
  },
  function spaceAround(bytes, random) {
    const marks = [...bytes.toString('latin1').matchAll(/[:;,= ]|\r\n/g)];
    if (marks.length === 0) return bytes;
    const { index, 0: text } = random.pick(marks);
    const at = index + (random.chance(2) ? text.length : 0);
    return splice(bytes, at, at, Buffer.from(random.pick([' ', '\t', '  ', '\x0b', '\x0c', '\xa0', '\x85']), 'latin1'));
  },
  function manyTimes(bytes, random) {
    const [from, to] = random.chance(2) ? line(bytes, random) : range(bytes, random, 4);
    return splice(bytes, to, to, ...Array<Buffer>(random.pick([3, 20, 130])).fill(bytes.subarray(from, to)));
  },
];

/** Longer ones would only slow the run down. */
const MOST_BYTES = 150_000;

/** One to four changes to an entry of a corpus. */
export function mutate(entry: Buffer, random: SeededRandom, corpus: readonly Buffer[]): Buffer {
  let bytes = entry;
  for (let left = 1 + random.below(4); left > 0 && bytes.length > 0; left--) {
    bytes = random.pick(MUTATIONS)(bytes, random, corpus);
  }
  return bytes.subarray(0, MOST_BYTES);
}

/** Where to cut bytes that go out in several pieces; most often nowhere. */
export function slices(bytes: Buffer, random: SeededRandom): Buffer[] {
  if (!random.chance(4) || bytes.length < 2) return [bytes];
  const cuts = Array.from({ length: 1 + random.below(3) }, () => random.below(bytes.length)).sort((a, b) => a - b);
  return [0, ...cuts].map((from, index) => bytes.subarray(from, cuts[index] ?? bytes.length));
}
