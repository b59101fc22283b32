import { expect, test } from '@jest/globals';
import { takeParameter } from '../../lib/auth/api-key-auth.ts';
import { isAuthority } from '../../lib/core/authority.ts';
import { cookieValue, hostnameOf } from '../../lib/core/http.ts';
import { normalTarget, targetFault } from '../../lib/ingress/request-target.ts';
import { Redaction } from '../../lib/observability/access-log/redaction.ts';
import { forwardedList } from '../../lib/proxy/request/forwarding-headers.ts';
import { namedInConnection } from '../../lib/proxy/request/hop-by-hop.ts';
import { publicRefresh } from '../../lib/proxy/response/public-urls.ts';
import { splitTarget, withoutSlashesAtEnd } from '../../lib/routing/rewrite.ts';

const redaction = new Redaction(['*own*', '*q*w*x*z']);
const mapping = { clientPrefix: '/a', backendPrefix: '', clientHost: 'a', backendHosts: ['b'] };

const readers: [string, (text: string) => unknown, ...string[]][] = [
  [
    'the checks of a target',
    (text) => targetFault('GET', `/${text}`),
    ...['a%2f', 'a%25', '%2e%2ea', 'a%2f.;', '.;', '/a', '%', 'a%2f..a', '%c3%a9/', '?', 'http://a'],
  ],
  ['the normal form of a target', (text) => normalTarget(`/${text}`, true), 'a%2f', '//', '/', '%61', 'é', '/?'],
  ['the split of a target', splitTarget, '/', '?', '#'],
  ['X-Forwarded-Prefix', (text) => withoutSlashesAtEnd(`${text}x`), '/'],
  ['the check of Host', (text) => isAuthority(`${text}!`), 'a', 'a.', '.', '[', ':', '::', '0'],
  ['Host', hostnameOf, ':', ']', '[', 'a.'],
  ['cookies', (text) => cookieValue(text, 'name'), 'a=b;', 'a;', '=', ' ', 'name'],
  ['the query of an API key', (text) => takeParameter({ url: `/?${text}` }, 'key'), 'a&', '&', 'key=a&', '%6bey&', '?'],
  ['secrets in a target', (text) => redaction.url(`/?${text}`), '//', '//a@', '?token=', '&a=', ';own=', '=', '@'],
  ['names of secrets with several *', (text) => redaction.url(`/?${text}=1`), 'q', 'qw', 'qwx', 'qwxy'],
  ['Connection', namedInConnection, 'a,', ',', ' ', '\t, '],
  [
    'Forwarded',
    (text) => forwardedList({ req: { headers: { forwarded: text } } } as never, 'for=a'),
    'a=b;',
    'a="',
    ' ',
    'a=b ;',
    '\\"',
  ],
  ['Refresh of a backend', (text) => publicRefresh(`0;url=/${text}x`, mapping as never), ' ', '"', '=', ';'],
];

test.each(readers)('R13: %s: a text as long as no head may be is read in linear time', (_title, read, ...pieces) => {
  // Time of the CPU, not of the clock. At this length, quadratic time would take minutes.
  const before = process.cpuUsage();
  for (const piece of pieces) read(piece.repeat(524_288 / piece.length));
  const { user, system } = process.cpuUsage(before);
  expect(user + system).toBeLessThan(10_000_000);
});
