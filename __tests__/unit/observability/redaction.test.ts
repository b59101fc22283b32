import { describe, expect, test } from '@jest/globals';
import { printable, Redaction, SECRET_PARAMETERS } from '../../../lib/observability/redaction.ts';

const redaction = new Redaction(['pin']);

describe('Redaction', () => {
  test.each([
    ['/a', '/a'],
    ['/a?b=1&c', '/a?b=1&c'],
    ['/a?token=x&b=1', '/a?token=***&b=1'],
    ['/a?b=1&ToKeN=x', '/a?b=1&ToKeN=***'],
    ['/a?%74oken=x', '/a?%74oken=***'],
    ['/a?token[]=x&token[a]=y', '/a?token[]=***&token[a]=***'],
    ['/a?pin=1234', '/a?pin=***'],
    ['/a;jsessionid=x/b?c=1', '/a;jsessionid=***?c=1'],
    ['/a?token=x;y=1', '/a?token=***;y=1'],
    ['/a?tokens=1&my_token=2', '/a?tokens=1&my_token=2'],
    ['/a?%zz=1&token=x=y', '/a?%zz=1&token=***'],
    ['/a?=x&token=', '/a?=x&token=***'],
    ['http://user:pass@a/b?c=d', 'http://***@a/b?c=d'],
    ['//user@a/b', '//***@a/b'],
    ['/mail/me@example.org', '/mail/me@example.org'],
    ['https://a/b#access_token=x', 'https://a/b#access_token=***'],
  ])('%s is shown as %s', (given, shown) => {
    expect(redaction.url(given)).toBe(shown);
  });

  test.each(SECRET_PARAMETERS)('the parameter %s is secret', (name) => {
    expect(redaction.url(`/?${name}=geheim`)).not.toContain('geheim');
  });
});

test('A13 printable() leaves no character that moves a terminal or ends a line, and cuts', () => {
  const every = Array.from({ length: 0x2030 }, (_, code) => String.fromCharCode(code)).join('');
  const shown = printable(every, 10_000);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there.
  expect(shown).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/);
  expect(shown).toContain('\\u001b');
  expect(printable('é "x" \\', 100)).toBe('é "x" \\');
  expect(printable('x'.repeat(11), 10)).toBe(`${'x'.repeat(10)}...`);
});
