import { describe, expect, test } from '@jest/globals';
import { LOG_LEVELS, type LogLevel } from '../../lib/gateway/config/sections/operation-variables.ts';
import { createLogger } from '../../lib/gateway/logging/logger.ts';

function linesAt(level: LogLevel): string[] {
  const lines: string[] = [];
  const log = createLogger(level, (line) => lines.push(line));
  for (const name of LOG_LEVELS) if (name !== 'silent') log[name]({ n: 1 }, name);
  return lines;
}

describe('createLogger', () => {
  test.each([
    ['silent', []],
    ['error', ['error']],
    ['warn', ['error', 'warn']],
    ['info', ['error', 'warn', 'info']],
    ['debug', ['error', 'warn', 'info', 'debug']],
  ] as const)('%s writes %j', (level, expected) => {
    expect(linesAt(level).map((line) => JSON.parse(line).msg)).toEqual(expected);
  });

  test('writes one JSON object per line for every text', () => {
    const lines: string[] = [];
    createLogger('info', (line) => lines.push(line)).info({ text: 'a\nb\u001b[2J', none: undefined }, 'two\nlines');
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/^[^\p{Cc}]*\n$/u);
    expect(JSON.parse(lines[0] as string)).toEqual({
      level: 'info',
      time: expect.stringMatching(/^\d{4}-.*Z$/),
      msg: 'two\nlines',
      text: 'a\nb\u001b[2J',
    });
  });

  test('shows errors with their stack', () => {
    const lines: string[] = [];
    createLogger('info', (line) => lines.push(line)).error({ error: new TypeError('broken') }, 'oh');
    expect(JSON.parse(lines[0] as string).error).toEqual({
      type: 'TypeError',
      message: 'broken',
      stack: expect.stringContaining('logger.test'),
    });
  });
});
