import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Browser } from 'playwright-core';
import { complaintsOf, describeInChromium, launchChromium } from '../support/chromium.ts';
import { Cleanup } from '../support/gateway.ts';
import { http2Gateway } from '../support/http2.ts';
import { listen } from '../support/servers.ts';

const IMAGES = 200;
const PIXEL = Buffer.from('R0lGODlhAQABAIAAAP///wAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOw==', 'base64');
const PAGE = `<!doctype html><title>images</title><link rel=icon href=data:,>
${Array.from({ length: IMAGES }, (_, index) => `<img src=/image?${index}>`).join('\n')}`;

describeInChromium('Chromium over HTTP/2', () => {
  const cleanup = new Cleanup();
  let browser: Browser;

  beforeAll(async () => {
    browser = cleanup.add(await launchChromium());
  });
  afterAll(() => cleanup.run());

  test('a page with 200 small images comes whole, all of it on one connection', async () => {
    const uploaded: number[] = [];
    const backend = cleanup.add(
      await listen(async (req, res) => {
        if (req.url === '/') return void res.setHeader('content-type', 'text/html').end(PAGE);
        if (req.url?.startsWith('/image')) return void res.setHeader('content-type', 'image/gif').end(PIXEL);
        let length = 0;
        for await (const chunk of req) length += chunk.length;
        uploaded.push(length);
        res.end('taken');
      }),
    );
    const gateway = cleanup.add(await http2Gateway({ backends: [backend.url] }));
    let connections = 0;
    gateway.server.on('connection', () => {
      connections += 1;
    });
    const page = await (await browser.newContext({ ignoreHTTPSErrors: true })).newPage();
    const complaints = complaintsOf(page);
    await page.goto(`https://127.0.0.1:${gateway.port}/`, { waitUntil: 'load' });
    const seen = await page.evaluate<{ whole: number; protocols: string[] }>(`({
      whole: [...document.images].filter(({ complete, naturalWidth }) => complete && naturalWidth === 1).length,
      protocols: performance.getEntriesByType('resource').map(({ nextHopProtocol }) => nextHopProtocol),
    })`);
    expect(seen.whole).toBe(IMAGES);
    expect(new Set(seen.protocols)).toEqual(new Set(['h2']));
    const taken = await page.evaluate(async () => {
      const body = new Blob([new Uint8Array(2_000_000)]);
      const responses = await Promise.all([1, 2, 3].map(() => fetch('/upload', { method: 'POST', body })));
      return Promise.all(responses.map((response) => response.text()));
    });
    expect(taken).toEqual(['taken', 'taken', 'taken']);
    expect(uploaded).toEqual([2_000_000, 2_000_000, 2_000_000]);
    expect(complaints).toEqual([]);
    // One more may be opened ahead, and closed without a request.
    expect(connections).toBeLessThanOrEqual(2);
    await page.context().close();
  });
});
