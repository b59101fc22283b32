import { expect, test } from '@jest/globals';
import { unsendable } from '../../../lib/proxy/request/request-head.ts';

const cause = new Error('invalid header');

test.each<[string[], string]>([
  [['x-a', '1', 'x b', '2'], 'A middleware set a header with the name "x b", which is not a token (RFC 9110 §5.1)'],
  [['', '1'], 'A middleware set a header with the name "", which is not a token (RFC 9110 §5.1)'],
  [['x-a', '1\n'], 'A middleware set the header "x-a" to a value with a character'],
  [['x-a', 'a b', 'x-b', '\u0100'], 'A middleware set the header "x-b" to a value with a character'],
  [['x-a', '\xff\t'], 'A middleware set a path or a header that cannot be sent (invalid header)'],
  [[], 'A middleware set a path or a header that cannot be sent (invalid header)'],
])('of the fields %j, says which one cannot be sent', (fields, message) => {
  const error = unsendable({ path: '/', fields }, cause);
  expect(error.message).toContain(message);
  expect(error).toMatchObject({ code: 'ERR_EXPRESSWAY_REQUEST_HEAD', cause });
});
