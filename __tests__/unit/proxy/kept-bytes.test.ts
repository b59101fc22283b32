import { describe, expect, test } from '@jest/globals';
import { KeptBytes } from '../../../lib/proxy/request/kept-bytes.ts';

const counted = (sizes: readonly number[]): Buffer[] => {
  let next = 0;
  return sizes.map((size) => Buffer.from(Array.from({ length: size }, () => next++ % 251)));
};

describe('bytes of a body that are kept', () => {
  test.each<[string, readonly number[]]>([
    ['nothing', []],
    ['one chunk', [100]],
    ['few chunks', [1, 2, 3]],
    ['chunks of a byte each', Array.from({ length: 20_000 }, () => 1)],
    ['chunks just below a page', Array.from({ length: 20 }, () => 8_191)],
    ['large chunks', Array.from({ length: 20 }, () => 65_536)],
    ['small ones between large ones', Array.from({ length: 40 }, (_, i) => (i % 2 === 0 ? 3 : 9_000))],
    ['empty ones', [0, 5, 0, 5, 0, 0, 0, 0, 0, 5, 0, 5]],
  ])('come back as they were: %s', (_what, sizes) => {
    const kept = new KeptBytes();
    const chunks = counted(sizes);
    for (const chunk of chunks) kept.push(chunk);
    const whole = Buffer.concat(chunks);
    expect(kept.length).toBe(whole.length);
    expect(Buffer.concat(kept.chunks()).equals(whole)).toBe(true);
  });

  test('few chunks are kept without a copy', () => {
    const kept = new KeptBytes();
    const chunks = counted([10, 20]);
    for (const chunk of chunks) kept.push(chunk);
    for (const [i, chunk] of kept.chunks().entries()) expect(chunk).toBe(chunks[i]);
  });

  test('chunks of a byte each take no object each: 64 KiB in a few pages', () => {
    const kept = new KeptBytes();
    for (let i = 0; i < 65_536; i += 1) kept.push(Buffer.from([i % 256]));
    expect(kept.chunks().length).toBeLessThan(20);
  });

  test('bytes that were taken do not change when later bytes arrive', () => {
    const kept = new KeptBytes();
    for (const chunk of counted(Array.from({ length: 20 }, () => 2))) kept.push(chunk);
    const taken = kept.chunks();
    const before = Buffer.concat(taken);
    for (let i = 0; i < 10_000; i += 1) kept.push(Buffer.from('later'));
    expect(Buffer.concat(taken).equals(before)).toBe(true);
  });
});
