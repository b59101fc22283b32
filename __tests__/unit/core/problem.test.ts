import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Cause, CAUSES as REGISTRY } from '../../../lib/core/causes.ts';
import { rawProblem, sendProblem } from '../../../lib/core/problem.ts';
import { listen, type RunningServer } from '../../support/servers.ts';

const CAUSES = Object.keys(REGISTRY) as Cause[];
/** More bytes than characters. */
const DETAIL = 'zu groß: 20 €';

let server: RunningServer;
beforeAll(async () => {
  server = await listen((req, res) => {
    const [, cause, detail] = (req.url as string).split('/').map(decodeURIComponent);
    sendProblem(res, cause as Cause, { retryAfterMs: 1_500, ...(detail ? { detail } : {}) });
  });
});
afterAll(() => server.close());

describe.each(CAUSES)('a response with the cause %s', (cause) => {
  const { status, title, proxyStatus } = REGISTRY[cause];
  const contentOf = (detail?: string) => JSON.stringify({ type: 'about:blank', title, status, cause, detail });

  test.each([
    ['no detail', undefined],
    ['a detail', DETAIL],
  ])('is whole, with %s', async (_, detail) => {
    const content = contentOf(detail);
    const length = String(Buffer.byteLength(content));
    // Twice: the first answer must leave nothing behind that the second one has.
    for (const shown of [detail, undefined, detail]) {
      const answer = await fetch(`${server.url}/${cause}/${encodeURIComponent(shown ?? '')}`);
      const text = await answer.text();
      if (shown !== detail) continue;
      expect([answer.status, text]).toEqual([status, content]);
      const fields = ['content-type', 'content-length', 'cache-control', 'proxy-status', 'retry-after'];
      expect(fields.map((name) => answer.headers.get(name))).toEqual([
        'application/problem+json',
        length,
        'no-store',
        `expressway; error=${proxyStatus}`,
        '2',
      ]);
    }
    const [head = '', rawContent] = rawProblem(cause, detail).split('\r\n\r\n');
    expect(rawContent).toBe(content);
    expect(head.split('\r\n')).toEqual(
      expect.arrayContaining([
        `HTTP/1.1 ${status} ${title}`,
        `Content-Length: ${length}`,
        `Proxy-Status: expressway; error=${proxyStatus}`,
        'Connection: close',
      ]),
    );
  });
});
