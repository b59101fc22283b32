import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import express from 'express';
import { roundRobinProxy, undiciTransport, upgradeHandler } from 'expressway';
import fc from 'fast-check';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { Cleanup } from '../support/gateway.ts';
import { RawClient } from '../support/raw-client.ts';
import { answer, RecorderBackend } from '../support/recorder-backend.ts';
import { listen } from '../support/servers.ts';
import { upgradeRequest } from '../support/tunnels.ts';

const cleanup = new Cleanup();
const ports: Record<string, number> = {};
let backend: RecorderBackend;

beforeAll(async () => {
  backend = cleanup.add(await RecorderBackend.start());
  const proxy = cleanup.add(roundRobinProxy({ backends: [backend.url] }));
  const plugin = createProxyMiddleware({ target: backend.url, plugins: [undiciTransport()] });
  for (const [name, middleware] of Object.entries({ 'roundRobinProxy()': proxy, 'undiciTransport()': plugin })) {
    const app = express().use(middleware);
    const { server, port } = cleanup.add(await listen(app));
    server.on('upgrade', middleware === plugin ? (plugin.upgrade as never) : upgradeHandler(app));
    ports[name] = port;
  }
});
afterAll(() => cleanup.run());

/** The names of all sections of a response, in their order. */
async function namesFrom(gateway: string, response: string, count: number): Promise<string[]> {
  backend.script = answer(response);
  const client = await RawClient.connect(ports[gateway] as number);
  client.send('GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n');
  await client.until((bytes) => bytes.toString('latin1').split('\r\n\r\n').length > count);
  const text = client.pending.toString('latin1');
  client.close();
  return [...text.matchAll(/^([^\s:]+): /gm)].map(([, name]) => name as string);
}

const HOPS = /^(?:connection|keep-alive|date|transfer-encoding|content-length)$/i;

describe.each(['roundRobinProxy()', 'undiciTransport()'])('%s keeps the spelling of header names', (gateway) => {
  test('in heads, informational responses and trailers, from one response to the next', async () => {
    for (const names of [
      ['WWW-Authenticate', 'ETag', 'X-Foo', 'SOAPAction', 'Set-Cookie', 'Vary'],
      ['www-authenticate', 'Etag', 'x-FOO', 'SoapAction', 'SET-COOKIE', 'vary'],
    ]) {
      const lines = names.map((name) => `${name}: 1\r\n`).join('');
      const response =
        `HTTP/1.1 103 Early Hints\r\n${lines}\r\n` +
        `HTTP/1.1 200 OK\r\n${lines}Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n${names[2]}: 1\r\n\r\n`;
      const sent = (await namesFrom(gateway, response, 3)).filter((name) => !HOPS.test(name));
      expect([...new Set(sent)].sort()).toEqual([...new Set([...names, 'X-Sum'])].sort());
    }
  });

  const NAMES = ['Sec-WebSocket-Accept', 'X-FOO', 'x-bar', 'Set-Cookie', 'Set-Cookie', 'SOAPAction', 'Link'];
  // A value may have what reads like a name.
  const LINES = NAMES.map((name, index) => `${name}: \xe9${index} x-foo:1`);

  test.each([
    ['accepted', '101 Switching Protocols', 'Connection: Upgrade\r\nUpgrade: websocket'],
    ['refused', '403 Forbidden', 'Content-Length: 0'],
  ])('in the head of an upgrade that is %s, and the bytes of its values', async (_kind, status, last) => {
    backend.script = answer(`HTTP/1.1 ${status}\r\n${LINES.join('\r\n')}\r\n${last}\r\n\r\n`);
    const client = await RawClient.connect(ports[gateway] as number);
    client.send(upgradeRequest());
    await client.until((bytes) => bytes.includes('\r\n\r\n'));
    const lines = client.pending.toString('latin1').split('\r\n').slice(1);
    client.close();
    expect(lines.filter((line) => line.includes('\xe9')).sort()).toEqual([...LINES].sort());
  });

  test('of any names in any order, some of them repeated', async () => {
    const letters = fc.constantFrom(...'abCD1-');
    const name = fc.array(letters, { minLength: 1, maxLength: 4 }).map((all) => `X${all.join('')}`);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(name, fc.constantFrom('X-Same', 'x-same', 'Vary', 'Set-Cookie')), { maxLength: 12 }),
        async (names) => {
          const lines = names.map((one) => `${one}: 1\r\n`).join('');
          const sent = await namesFrom(gateway, `HTTP/1.1 200 OK\r\n${lines}Content-Length: 0\r\n\r\n`, 1);
          const first = new Map<string, string>();
          for (const one of names) if (!first.has(one.toLowerCase())) first.set(one.toLowerCase(), one);
          const expected = names.map((one) => first.get(one.toLowerCase()));
          expect(sent.filter((one) => !HOPS.test(one)).sort()).toEqual(expected.sort());
        },
      ),
      { numRuns: 100 },
    );
  });
});
