import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  formatTraceParent,
  parseTraceParent,
  replaceTraceFields,
} from '../../../lib/observability/tracing/trace-context.ts';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const PARENT = 'b7ad6b7169203331';
const GOOD = `00-${TRACE}-${PARENT}-01`;

describe('traceparent', () => {
  test.each([
    [GOOD, 1],
    [`00-${TRACE}-${PARENT}-00`, 0],
    // `random` of level 2 is known, flags beyond it are not.
    [`00-${TRACE}-${PARENT}-03`, 3],
    [`00-${TRACE}-${PARENT}-fd`, 1],
    // Versions to come are read as far as this one is known.
    [`cc-${TRACE}-${PARENT}-01`, 1],
    [`cc-${TRACE}-${PARENT}-01-what-the-future-will-be-like`, 1],
    [`01-${TRACE}-${PARENT}-01-`, 1],
  ])('%s is read', (text, traceFlags) => {
    expect(parseTraceParent(text)).toEqual({ traceId: TRACE, spanId: PARENT, traceFlags });
  });

  test.each([
    ['nothing', ''],
    ['version ff', `ff-${TRACE}-${PARENT}-01`],
    ['version 00 with more behind it', `${GOOD}-what`],
    ['version 00 with a dash behind it', `${GOOD}-`],
    ['a version to come with more and no dash', `cc-${TRACE}-${PARENT}-01.what`],
    ['a trace id of zeros', `00-${'0'.repeat(32)}-${PARENT}-01`],
    ['a parent id of zeros', `00-${TRACE}-${'0'.repeat(16)}-01`],
    ['upper case', GOOD.toUpperCase()],
    ['one letter in upper case', `00-${TRACE.replace('f', 'F')}-${PARENT}-01`],
    ['a trace id that is too short', `00-${TRACE.slice(1)}-${PARENT}-01`],
    ['a trace id that is too long', `00-${TRACE}0-${PARENT}-01`],
    ['a parent id that is too short', `00-${TRACE}-${PARENT.slice(1)}-01`],
    ['flags that are too short', `00-${TRACE}-${PARENT}-1`],
    ['flags that are no hexadecimal', `00-${TRACE}-${PARENT}-0g`],
    ['no version', `${TRACE}-${PARENT}-01`],
    ['underscores', GOOD.replaceAll('-', '_')],
    ['space around it', ` ${GOOD}`],
    ['two fields', `${GOOD}, ${GOOD}`],
    ['two fields of a version to come', `cc-${TRACE}-${PARENT}-01, cc-${TRACE}-${PARENT}-01`],
    ['a line end behind it', `${GOOD}\n`],
  ])('%s is refused', (_what, text) => {
    expect(parseTraceParent(text)).toBeUndefined();
  });

  test('a written header can be parsed', () => {
    const hex = (length: number) =>
      fc
        .array(fc.constantFrom(...'0123456789abcdef'), { minLength: length, maxLength: length })
        .map((digits) => digits.join(''))
        .filter((text) => !/^0+$/.test(text));
    fc.assert(
      fc.property(hex(32), hex(16), fc.integer({ min: 0, max: 3 }), (traceId, spanId, traceFlags) => {
        const parent = { traceId, spanId, traceFlags };
        expect(parseTraceParent(formatTraceParent(parent))).toEqual(parent);
      }),
    );
  });

  test('a change of one character gives another parent or none, never the same', () => {
    const before = parseTraceParent(GOOD);
    const chars = fc.constantFrom(...'0123456789abcdefABCDEF-, \tx');
    fc.assert(
      fc.property(fc.integer({ min: 3, max: GOOD.length - 1 }), chars, (at, char) => {
        fc.pre(GOOD[at] !== char);
        const changed = GOOD.slice(0, at) + char + GOOD.slice(at + 1);
        const after = parseTraceParent(changed);
        // Unknown flags are masked: there, two texts may well say the same.
        if (at < GOOD.length - 2) expect(after).not.toEqual(before);
        if (after !== undefined) expect(formatTraceParent(after)).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-0[0-3]$/);
      }),
    );
  });
});

test('the trace fields of a client are replaced however it spells them', () => {
  const fields = ['X-A', '1', 'TraceParent', 'old', 'TRACESTATE', 'old'];
  replaceTraceFields(fields, { traceId: TRACE, spanId: PARENT, traceFlags: 1 }, 'a=1');
  expect(fields).toEqual(['X-A', '1', 'TraceParent', GOOD, 'TRACESTATE', 'a=1']);
});
