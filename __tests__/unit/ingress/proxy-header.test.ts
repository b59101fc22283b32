import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { MOST_HEADER_BYTES, readProxyHeader } from '../../../lib/ingress/proxy-header.ts';
import { V2_SIGNATURE, v2Header } from '../../support/proxy-headers.ts';

/** Of version 2, what follows its signature. */
const titleOf = (header: string | Buffer): string =>
  typeof header === 'string'
    ? JSON.stringify(header)
    : `version 2, ${header.toString('hex', 12, 32)}… (${header.length} bytes)`;

const latin1 = (text: string) => Buffer.from(text, 'latin1');

const ipv4 = fc.ipV4();
const ipv6 = fc.tuple(...Array.from({ length: 8 }, () => fc.nat(0xffff))).map((parts) => parts.map(hex).join(':'));
const port = fc.nat(65_535);
const hex = (part: number) => part.toString(16);

const endpoints = fc.oneof(fc.tuple(fc.constant(4), ipv4, ipv4), fc.tuple(fc.constant(6), ipv6, ipv6));

/** A valid header with the address that it names. */
const v1 = fc
  .tuple(endpoints, port, port)
  .map(([[version, from, to], a, b]) => [latin1(`PROXY TCP${version} ${from} ${to} ${a} ${b}\r\n`), from, a] as const);

/** With TLVs behind the addresses. */
const v2 = fc
  .tuple(endpoints, port, port, fc.uint8Array({ maxLength: 400 }))
  .map(([[, from, to], a, b, more]) => [v2Header({ from, to, port: a, toPort: b, more }), from, a] as const);

/** The same, however it is written. */
const canonical = (address: string) =>
  address.includes(':') ? new URL(`http://[${address}]`).hostname.slice(1, -1) : address;

describe('PROXY protocol', () => {
  test('names the client, wherever its bytes are split, and leaves the bytes after it', () => {
    fc.assert(
      fc.property(fc.oneof(v1, v2), fc.uint8Array({ maxLength: 40 }), ([header, address, from], rest) => {
        for (let at = 0; at < header.length; at += 1) expect(readProxyHeader(header.subarray(0, at))).toBe('more');
        const read = readProxyHeader(Buffer.concat([header, rest]));
        expect(read).toMatchObject({ length: header.length, source: { port: from } });
        const { source } = read as { source: { address: string } };
        expect(canonical(source.address)).toBe(canonical(address));
      }),
      { numRuns: 200 },
    );
  });

  test('decides about any bytes within the bound, and never throws', () => {
    const start = fc.constantFrom(
      '',
      'PROXY ',
      'PROXY TCP4 ',
      'PROXY UNKNOWN',
      V2_SIGNATURE,
      `${V2_SIGNATURE}\x21\x11`,
    );
    fc.assert(
      fc.property(start, fc.uint8Array({ maxLength: 700 }), (first, bytes) => {
        const read = readProxyHeader(Buffer.concat([latin1(first), bytes]));
        if (read === 'more') expect(first.length + bytes.length).toBeLessThan(MOST_HEADER_BYTES);
        else if (read !== 'invalid') expect(read.length).toBeLessThanOrEqual(MOST_HEADER_BYTES);
      }),
      { numRuns: 2_000 },
    );
  });

  test('changes of a valid header are another valid one, or refused', () => {
    fc.assert(
      fc.property(fc.oneof(v1, v2), fc.nat(60), fc.nat(255), ([header], at, byte) => {
        const changed = Buffer.from(header);
        changed[at % changed.length] = byte;
        const read = readProxyHeader(changed);
        if (typeof read === 'object') expect(read.length).toBeLessThanOrEqual(changed.length);
      }),
      { numRuns: 1_000 },
    );
  });

  test.each(
    (
      [
        ['PROXY UNKNOWN\r\n', 15],
        ['PROXY UNKNOWN ffff:f...f:ffff 1 2 anything\r\n', 44],
        [v2Header({ command: 0x20, family: 0 }), 16],
        // A LOCAL connection: its family and addresses are to be ignored.
        [v2Header({ command: 0x20, family: 0x7f, more: Buffer.from('abc') }), 19],
        [v2Header({ from: '192.0.2.1', to: '192.0.2.2', command: 0x20 }), 28],
        [v2Header({ family: 0, more: Buffer.from([4, 0, 1, 0]) }), 20],
        [v2Header({ family: 0x31, more: Buffer.alloc(216) }), 232],
      ] as readonly (readonly [string | Buffer, number])[]
    ).map(([header, length]) => [titleOf(header), header, length] as const),
  )('%s leaves the address of the peer', (_title, header, length) => {
    const bytes = typeof header === 'string' ? latin1(header) : header;
    expect(readProxyHeader(Buffer.concat([bytes, latin1('GET /')]))).toEqual({ length, source: undefined });
  });

  test('addresses are written as Node writes them', () => {
    const sourceOf = (line: string) => (readProxyHeader(latin1(`${line}\r\n`)) as { source: object }).source;
    expect(sourceOf('PROXY TCP6 2001:DB8:0:0::1 ::1 5 6')).toEqual({ address: '2001:db8::1', port: 5, family: 'IPv6' });
    expect(sourceOf('PROXY TCP6 ::ffff:1.2.3.4 ::1 5 6')).toMatchObject({ address: '::ffff:1.2.3.4' });
    expect(readProxyHeader(v2Header({ from: '0:0:0:0:0:ffff:102:304', to: '0:0:0:0:0:0:0:1' }))).toMatchObject({
      source: { address: '::ffff:1.2.3.4' },
    });
  });

  test.each(
    [
      'GET / HTTP/1.1\r\n',
      'PROXY TCP5 1.2.3.4 1.2.3.4 1 2\r\n',
      'PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n',
      'PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n',
      'PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n',
      'PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n',
      'PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n',
      'PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n',
      'PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n',
      'PROXY TCP4 ::1 ::1 1 2\r\n',
      'PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n',
      'PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n',
      'PROXY UNKNOWNx\r\n',
      `PROXY UNKNOWN ${'x'.repeat(93)}`,
      `PROXY TCP4 1.2.3.4 1.2.3.4 1 ${'1'.repeat(100)}\r\n`,
      'proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n',
      v2Header({ command: 0x11 }),
      v2Header({ command: 0x22 }),
      // Datagrams, and unknown families.
      v2Header({ from: '192.0.2.1', to: '192.0.2.2', family: 0x12 }),
      v2Header({ family: 0x41 }),
      // Shorter than its addresses, and longer than the bound.
      v2Header({ family: 0x11, more: Buffer.alloc(11) }),
      v2Header({ family: 0x21, more: Buffer.alloc(35) }),
      v2Header({ from: '192.0.2.1', to: '192.0.2.2', more: Buffer.alloc(520) }),
    ].map((header) => [titleOf(header), header] as const),
  )('%s is refused', (_title, header) => {
    expect(readProxyHeader(typeof header === 'string' ? latin1(header) : header)).toBe('invalid');
  });
});
