import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { trustCertificate } from '../support/certificate.ts';
import { Cleanup } from '../support/gateway.ts';
import { PROTOCOLS } from '../support/protocols.ts';
import { REPEATS_ALL } from '../support/stream-client.ts';
import { type Case, type Seen, TransportPair } from '../support/transport-pair.ts';
import { headerCases, optionCases, requestCases, routerCases, targetCases, tlsCases } from './both-transports-cases.ts';
import { failureCases, responseCases } from './both-transports-responses.ts';

const cleanup = new Cleanup();
beforeAll(() => {
  cleanup.add(trustCertificate());
});
afterAll(() => cleanup.run());

const GROUPS = {
  targets: targetCases,
  requests: requestCases,
  routers: routerCases,
  headers: headerCases,
  TLS: tlsCases,
  options: optionCases,
  responses: responseCases,
  failures: failureCases,
};

/** Differences that are everywhere: each takes from both sides what it is about. */
const EVERYWHERE: Readonly<Record<string, (seen: Seen) => Seen>> = {
  'Headers of one connection': (seen) =>
    withoutFields(seen, /^(?:te|proxy-authorization|proxy-authenticate|upgrade|x-gone): /),
  Expect: (seen) => withoutFields(seen, /^expect: /),
  'Framing of an empty body': (seen) => withoutFields(seen, /^content-length: 0$/),
  'Repeated headers': (seen) => eachFields(seen, firstOrJoined),
  'Header names such as __proto__': (seen) => withoutFields(seen, /^__proto__: /),
};

function eachFields(seen: Seen, change: (fields: readonly string[]) => readonly string[]): Seen {
  const requests = seen.requests.map((request) => ({ ...request, fields: change(request.fields) }));
  return { ...seen, fields: change(seen.fields), requests };
}

function withoutFields(seen: Seen, pattern: RegExp): Seen {
  return eachFields(seen, (fields) => fields.filter((field) => !pattern.test(field)));
}

/** Repeated lines as `node:http` reads them: the first of headers that may stand once only, a list of others. */
function firstOrJoined(fields: readonly string[]): string[] {
  const joined = new Map<string, string>();
  for (const field of fields) {
    const [name = ''] = field.split(': ', 1);
    const value = field.slice(name.length + 2);
    const before = joined.get(name);
    if (before === undefined) joined.set(name, value);
    else if (name === 'set-cookie' || !['content-type', 'etag'].includes(name)) joined.set(name, `${before}, ${value}`);
  }
  return [...joined].map(([name, value]) => `${name}: ${value}`);
}

const alike = (seen: Seen): Seen => Object.values(EVERYWHERE).reduce((one, difference) => difference(one), seen);

/** Groups that differ by what the client speaks. The others are about the side of the backend. */
const OF_CLIENTS: ReadonlySet<string> = new Set(['requests', 'responses', 'failures']);

/** Requests that HTTP/2 does not have: HTTP/1.0, the absolute form, and headers that Connection names. */
const ONLY_HTTP_1 = /^\S+ http:|^.* HTTP\/1\.0\r|\r\nConnection: X-/;

const casesOver = (protocol: string) => (cases: Readonly<Record<string, Case>>) =>
  Object.entries(cases).filter(([, { request = '' }]) => {
    const isSent = REPEATS_ALL || !/User-Agent: a\r\nUser-Agent: b/.test(request);
    return protocol === 'HTTP/1.1' || (isSent && !ONLY_HTTP_1.test(request));
  });

/** HTTP/2 has no reason phrase. */
const statusOver2 = (seen: Seen): Seen => ({
  ...seen,
  status: seen.status.replace(/^HTTP\/1\.1 (\d+).*/, 'HTTP/2.0 $1'),
});

describe.each(PROTOCOLS)('over $name', (protocol) => {
  const isHttp1 = protocol.name === 'HTTP/1.1';
  const groups = Object.entries(GROUPS).filter(([group]) => isHttp1 || OF_CLIENTS.has(group));

  let pair: TransportPair;
  beforeAll(async () => {
    pair = cleanup.add(await TransportPair.start(protocol));
  });

  describe.each(groups)('%s: undiciTransport() behaves like the native transport', (_group, cases) => {
    test.each(casesOver(protocol.name)(cases))('%s', async (_name, it) => {
      const native = await pair.run(it, 'native');
      const made = it.differs ? { ...native, ...it.differs.undici(native) } : native;
      const expected = isHttp1 ? made : statusOver2(made);
      // A difference that is none any more leaves the table.
      if (it.differs && isHttp1) expect(alike(native)).not.toEqual(alike(expected));
      expect(alike(await pair.run(it, 'undici'))).toEqual(alike(expected));
    });
  });
});

test('docs/http-proxy-middleware.md gives a reason for each difference', () => {
  const page = readFileSync(new URL('../../docs/http-proxy-middleware.md', import.meta.url), 'utf8');
  const [, table = ''] = page.split('## Differences');
  const rows = [...(table.split('\n## ')[0] ?? '').matchAll(/^\| ([^|]+?) \| [^|]+ \| [^|]+ \| [^|]{5,} \|$/gm)].map(
    ([, row]) => row,
  );
  const named = Object.values(GROUPS).flatMap((cases) => Object.values(cases).map(({ differs }) => differs?.row ?? []));
  expect(rows).toEqual(expect.arrayContaining([...Object.keys(EVERYWHERE), ...named.flat()]));
});

test('both transports are compared in at least 500 cases', () => {
  expect(Object.values(GROUPS).flatMap((cases) => Object.keys(cases)).length).toBeGreaterThanOrEqual(500);
});
