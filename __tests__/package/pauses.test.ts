import { globSync, readFileSync } from 'node:fs';
import { expect, test } from '@jest/globals';

/** Where clocks are fake, and a pause takes no time. */
const IN_FAKE_TIME = [
  '__tests__/unit/rate-limit/four-gateways.test.ts',
  '__tests__/unit/rate-limit/limiter-counter.test.ts',
  '__tests__/unit/rate-limit/redis-link.test.ts',
  '__tests__/unit/rate-limit/resilient-meter.test.ts',
  '__tests__/unit/rate-limit/simulated-redis.ts',
];
/** A promise that a timer settles. */
const SLEEPS = [
  /new Promise(?:<[^>]*>)?\(\([^)]*\) =>\s*(?:[\w.#]*\.)?#?(?:setTimeout|realTimeout)\(/,
  /setTimeout\b[^;]*from 'node:timers\/promises'/,
  /promisify\(setTimeout\)/,
];

const sleeps = (text: string): boolean => SLEEPS.some((pattern) => pattern.test(text));

test('a test that lets time pass names its reason: by pause(), stays(), afterRead(), or eventually() if it waits for something', () => {
  const files = globSync('__tests__/**/*.{ts,js,mjs}', { exclude: ['**/node_modules/**'] });
  expect(files.length).toBeGreaterThan(300);
  const found = files.filter((file) => sleeps(readFileSync(file, 'utf8'))).sort();
  expect(found).toEqual(['__tests__/support/pause.ts', ...IN_FAKE_TIME]);
});

test.each([
  ['await new Promise((resolve) => ', 'setTimeout(resolve, 100));'],
  ['new Promise<void>((_, reject) => ', "setTimeout(reject, 10, new Error('late')))"],
  ['import { setTimeout as delay } from ', "'node:timers/promises';"],
])('%s%s is found', (before, after) => expect(sleeps(before + after)).toBe(true));

test.each([
  "setTimeout(() => socket.write('late'), 20);",
  "import { setImmediate as turn } from 'node:timers/promises';",
])('%s is a backend that is late, or takes no time', (text) => expect(sleeps(text)).toBe(false));
