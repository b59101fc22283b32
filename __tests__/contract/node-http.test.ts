import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { createServer, type IncomingMessage } from 'node:http';
import { afterEach, expect, test } from '@jest/globals';
import { Cleanup } from '../support/gateway.ts';
import { rawRequest } from '../support/raw-client.ts';
import { listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

test('the channel http.server.request.start has a request before any listener of the server, with `Expect` too', async () => {
  const steps: [string, IncomingMessage][] = [];
  const onStart = (message: unknown) => steps.push(['start', (message as { request: IncomingMessage }).request]);
  subscribe('http.server.request.start', onStart);
  cleanup.add({ close: () => unsubscribe('http.server.request.start', onStart) });
  const server = createServer();
  server.prependListener('request', (req, res) => {
    steps.push(['request', req]);
    res.end();
  });
  const { port } = cleanup.add(await listen(() => {}, server));
  await rawRequest(port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  server.on('checkContinue', (req, res) => server.emit('request', req, res));
  await rawRequest(port, 'POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n');
  expect(steps.map(([step]) => step)).toEqual(['start', 'request', 'start', 'request']);
  expect([steps[0]?.[1] === steps[1]?.[1], steps[2]?.[1] === steps[3]?.[1]]).toEqual([true, true]);
});

test('a header named __proto__ is in rawHeaders and not in headers; other names of properties are in both', async () => {
  let seen: IncomingMessage | undefined;
  const { port } = cleanup.add(
    await listen((req, res) => {
      seen = req;
      res.end();
    }),
  );
  await rawRequest(port, 'GET / HTTP/1.1\r\nHost: a\r\n__proto__: x\r\nconstructor: y\r\ntoString: z\r\n\r\n');
  expect(seen?.rawHeaders).toContain('__proto__');
  expect(Object.keys(seen?.headers ?? {})).toEqual(['host', 'constructor', 'tostring']);
});
