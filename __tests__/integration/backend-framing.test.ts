import type { ServerResponse } from 'node:http';
import { afterEach, describe, expect, test } from '@jest/globals';
import express from 'express';
import { undiciTransport } from 'expressway';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { afterRead, pause } from '../support/pause.ts';
import { RawClient, rawRequest } from '../support/raw-client.ts';
import { recordedGateway } from '../support/recorded-gateway.ts';
import { answer, answerOk, RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { eventually, listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const setUp = (script: Script) => recordedGateway(script, cleanup);

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
const nonce = (text: string) => `GET / HTTP/1.1\r\nHost: a\r\nX-Nonce: ${text}\r\n\r\n`;
const SMUGGLED = 'HTTP/1.1 200 OK\r\nX-Evil: 1\r\nContent-Length: 4\r\n\r\nevil';

/** Nobody gets anything but the answer to its own request, on the client's connection and on a new one. */
async function othersAreServed(port: number, backend: RecorderBackend): Promise<void> {
  backend.script = answerOk;
  for (const text of ['one', 'two']) {
    const innocent = await rawRequest(port, nonce(text));
    expect([innocent.status, innocent.field('x-nonce'), innocent.content.toString()]).toEqual([200, text, text]);
  }
}

const head = (fields: string, content = '') => `HTTP/1.1 200 OK\r\n${fields}\r\n\r\n${content}`;

const BAD_HEADS: readonly [string, string, cause?: string][] = [
  ['T03: length and chunked', head('Content-Length: 3\r\nTransfer-Encoding: chunked', '0\r\n\r\n')],
  ['T03: chunked and length', head('Transfer-Encoding: chunked\r\nContent-Length: 3', '0\r\n\r\n')],
  ['R12: two lengths', head('Content-Length: 2\r\nContent-Length: 3', 'abc')],
  ['R12: the same length twice', head('Content-Length: 2\r\nContent-Length: 2', 'ab')],
  ['R12: a list of lengths', head('Content-Length: 2, 2', 'ab')],
  ['R12: a signed length', head('Content-Length: +2', 'ab')],
  ['R12: a negative length', head('Content-Length: -2', 'ab')],
  ['R12: an empty length', head('Content-Length:', 'ab')],
  ['R12: a length that overflows', head('Content-Length: 99999999999999999999999', 'ab')],
  ['R23: a coding besides chunked', head('Transfer-Encoding: gzip, chunked', '0\r\n\r\n')],
  ['R23: chunked is not last', head('Transfer-Encoding: chunked, gzip', '0\r\n\r\n')],
  ['R23: chunked twice', head('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked', '0\r\n\r\n')],
  ['R23: identity', head('Transfer-Encoding: identity', 'ab')],
  ['R23: a coding like chunked', head('Transfer-Encoding: xchunked', '0\r\n\r\n')],
  ['T05: a folded field', head('X-A: a\r\n b\r\nContent-Length: 0')],
  ['T05: a folded length', head('Content-Length:\r\n 0')],
  ['R8: NUL in a value', head('X-A: a\0b\r\nContent-Length: 0')],
  ['R8: a bare CR in a value', head('X-A: a\rX-B: c\r\nContent-Length: 0')],
  ['R8: a control character in a value', head('X-A: a\x01b\r\nContent-Length: 0')],
  ['bare line feeds', 'HTTP/1.1 200 OK\nContent-Length: 0\n\n'],
  ['R21: a space before the colon', head('Content-Length : 0')],
  ['a name that is none', head('X(A: a\r\nContent-Length: 0')],
  ['a line without a colon', head('XA\r\nContent-Length: 0')],
  ['a status of four digits', 'HTTP/1.1 1000 OK\r\nContent-Length: 0\r\n\r\n'],
  ['a status of two digits', 'HTTP/1.1 99 OK\r\nContent-Length: 0\r\n\r\n'],
  ['a status below 100', 'HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n'],
  ['a status of zero', 'HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n'],
  ['a status over 599', 'HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n'],
  ['the greatest status of three digits', 'HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n'],
  ['a version of HTTP/1 that is none', 'HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n'],
  ['HTTP/3.0', 'HTTP/3.0 200 OK\r\nContent-Length: 0\r\n\r\n'],
  ['R18: HTTP/2.0', 'HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok'],
  ['R18: HTTP/2.0 that says it goes on', 'HTTP/2.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok'],
  ['R18: HTTP/2.0 without a field', 'HTTP/2.0 204 No Content\r\n\r\n'],
  ['R18: HTTP/0.9', 'HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nok'],
  ['R18: HTTP/2.0 in an informational head', 'HTTP/2.0 103 E\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'],
  ['another protocol', 'SSH-2.0-OpenSSH_9\r\n\r\n'],
  ['C07: 101 without an upgrade', `HTTP/1.1 101 Switching Protocols\r\n\r\n${SMUGGLED}`],
  ['C07: 101 with an upgrade that nobody asked for', 'HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n'],
  ['G07: a head of more than 16 KiB', head(`X: ${'x'.repeat(17_000)}`), 'http_response_header_section_size'],
  [
    'G07: endless fields',
    `HTTP/1.1 200 OK\r\n${'X-A: abcdefgh\r\n'.repeat(4_000)}`,
    'http_response_header_section_size',
  ],
];

describe('a malformed response head', () => {
  test.each(BAD_HEADS)(
    '%s: the client gets 502, and other requests are served',
    async (_name, bytes, cause = 'http_protocol_error') => {
      const { port, backend, proxy } = await setUp(answer(bytes));
      const client = cleanup.add(await RawClient.connect(port));
      client.send(GET);
      const response = await client.response();
      expect(response.status).toBe(502);
      expect(JSON.parse(response.content.toString()).cause).toBe(cause);
      expect(response.field('x-evil')).toBeUndefined();
      await eventually('its connection is closed', () => backend.connections.size === 0);
      await eventually('nothing is in flight', () => proxy.status()[0]?.inFlight === 0);
      backend.script = answerOk;
      client.send(nonce('same'));
      expect((await client.response()).content.toString()).toBe('same');
      await othersAreServed(port, backend);
    },
  );

  test.each([
    ['NUL', 'O\0K'],
    ['a control character', 'O\x07K'],
  ])('a reason phrase with %s is left out, because it cannot be forwarded', async (_name, phrase) => {
    const { port, backend } = await setUp(
      answer(`HTTP/1.1 200 ${phrase}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n`),
    );
    const response = await rawRequest(port, GET);
    expect([response.startLine, response.content.toString()]).toEqual(['HTTP/1.1 200 OK', 'ok']);
    await othersAreServed(port, backend);
  });
});

describe('an unusual response head', () => {
  test.each([299, 308, 418, 451, 599])('a status of %d reaches the client as it is', async (status) => {
    const { port } = await setUp(answer(`HTTP/1.1 ${status} Own Word\r\nContent-Length: 2\r\n\r\nok`));
    const response = await rawRequest(port, GET);
    expect([response.startLine, response.content.toString()]).toEqual([`HTTP/1.1 ${status} Own Word`, 'ok']);
  });

  test.each(['Chunked', 'CHUNKED'])('Transfer-Encoding: %s is chunked', async (coding) => {
    const { port } = await setUp(answer(head(`Transfer-Encoding: ${coding}`, '2\r\nok\r\n0\r\n\r\n')));
    const response = await rawRequest(port, GET);
    expect([response.status, response.content.toString()]).toEqual([200, 'ok']);
  });

  test.each(['Strange', ''])('nothing of it is in the 502 when its body does not begin: reason %j', async (reason) => {
    const { port } = await setUp((socket) =>
      socket.end(`HTTP/1.1 200 ${reason}\r\nX-A: 1\r\nContent-Length: 9\r\n\r\n`),
    );
    const response = await rawRequest(port, GET);
    expect([response.startLine, response.field('x-a')]).toEqual(['HTTP/1.1 502 Bad Gateway', undefined]);
  });

  test('its length is not that of the body when a middleware has made HEAD of GET', async () => {
    const backend = cleanup.add(await RecorderBackend.start(answer(head('Content-Length: 5'))));
    const { port } = cleanup.add(
      await proxyGateway({ backends: [backend.url] }, (app) =>
        app.use((req, _res, next) => {
          if (req.url === '/head') req.method = 'HEAD';
          next();
        }),
      ),
    );
    const client = cleanup.add(await RawClient.connect(port));
    client.send('GET /head HTTP/1.1\r\nHost: a\r\n\r\n');
    const response = await client.response();
    expect([response.status, response.framingComplete, response.content.length]).toEqual([200, true, 0]);
    backend.script = answerOk;
    client.send(GET);
    expect((await client.response()).status).toBe(200);
  });

  test('an invalid status counts as a failure of the backend', async () => {
    const backend = cleanup.add(await RecorderBackend.start(answer('HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n')));
    const gateway = cleanup.add(
      await proxyGateway({ backends: [backend.url], circuit: { minimumRequests: 1, failureRatio: 1 } }),
    );
    expect((await rawRequest(gateway.port, GET)).status).toBe(502);
    expect(gateway.proxy.status()[0]?.circuit).toBe('open');
  });

  test('R18: an HTTP/1.0 response is forwarded as HTTP/1.1', async () => {
    const { port, backend } = await setUp(answer('HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok'));
    const response = await rawRequest(port, GET);
    expect([response.startLine, response.content.toString()]).toEqual(['HTTP/1.1 200 OK', 'ok']);
    await othersAreServed(port, backend);
  });
});

describe('R18: a response of another major HTTP version', () => {
  const ODD = 'HTTP/2.0 200 OK\r\nX-Evil: 1\r\nContent-Length: 2\r\n\r\nok';

  test.each(['one byte at a time', 'a line at a time'])('is detected in a head that arrives %s', async (how) => {
    const pieces = how === 'a line at a time' ? (ODD.match(/[^\n]*\n|.+$/g) as string[]) : ODD.split('');
    const { port, backend } = await setUp(async (socket) => {
      socket.setNoDelay(true);
      for (const piece of pieces) {
        if (!socket.writable) return;
        await new Promise((resolve) => socket.write(piece, resolve));
        await pause('each piece comes on its own', 2);
      }
    });
    const response = await rawRequest(port, GET);
    expect([response.status, response.field('x-evil')]).toEqual([502, undefined]);
    await othersAreServed(port, backend);
  });

  test('is detected in the final head after an informational response', async () => {
    const { port, backend } = await setUp(answer(`HTTP/1.1 103 Early Hints\r\n\r\n${ODD}`));
    const client = cleanup.add(await RawClient.connect(port));
    client.send(GET);
    expect([(await client.response()).status, (await client.response()).status]).toEqual([103, 502]);
    await othersAreServed(port, backend);
  });

  test('is detected on a connection with earlier valid responses, and counts against the backend', async () => {
    const backend = cleanup.add(await RecorderBackend.start(answerOk));
    const circuit = { minimumRequests: 3, failureRatio: 0.3 };
    const gateway = cleanup.add(await proxyGateway({ backends: [backend.url], circuit }));
    for (const text of ['one', 'two']) expect((await rawRequest(gateway.port, nonce(text))).status).toBe(200);
    expect(backend.received).toHaveLength(1);
    backend.script = answer(ODD);
    const response = await rawRequest(gateway.port, GET);
    expect([response.status, response.field('proxy-status')]).toEqual([502, expect.stringContaining('protocol_error')]);
    expect(backend.received).toHaveLength(1);
    expect(gateway.proxy.status()[0]?.circuit).toBe('open');
  });

  test('is ignored inside content', async () => {
    const { port } = await setUp((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${ODD.length}\r\n\r\n`);
      afterRead(() => socket.write(ODD));
    });
    const response = await rawRequest(port, GET);
    expect([response.status, response.content.toString()]).toEqual([200, ODD]);
  });

  test('is detected when a backend switches protocols', async () => {
    const { port } = await setUp(answer('HTTP/2.0 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n'));
    const response = await rawRequest(
      port,
      'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    );
    expect(response.status).toBe(502);
  });

  test('is detected by a health check', async () => {
    const backend = cleanup.add(await RecorderBackend.start(answer(ODD)));
    const check = { path: '/healthz', intervalMs: 10, unhealthyAfter: 1 };
    const gateway = cleanup.add(await proxyGateway({ backends: [backend.url], healthCheck: check }));
    await eventually('it is found unhealthy', () => gateway.proxy.status()[0]?.health === 'unhealthy');
  });

  test('is detected with http-proxy-middleware', async () => {
    const backend = cleanup.add(await RecorderBackend.start(answer(ODD)));
    const errors: Error[] = [];
    const app = express();
    const on = {
      error: (error: Error, _req: unknown, res: unknown) => {
        errors.push(error);
        (res as ServerResponse).writeHead(502).end();
      },
    };
    app.use(createProxyMiddleware({ target: backend.url, plugins: [undiciTransport()], on }));
    const { port } = cleanup.add(await listen(app));
    expect((await rawRequest(port, GET)).status).toBe(502);
    const cause = expect.objectContaining({ code: 'ERR_EXPRESSWAY_PROTOCOL' });
    expect(errors).toEqual([expect.objectContaining({ code: 'HPE_INVALID_CONSTANT', cause })]);
  });
});

describe('content that violates its own framing', () => {
  test.each([
    ['T02: a chunk size that is no number', 'ok\r\nzz\r\nab\r\n0\r\n\r\n'],
    ['T02: a chunk size that overflows', 'ok\r\nfffffffffffffffff\r\nab\r\n0\r\n\r\n'],
    ['T02: a chunk longer than it says', 'ok\r\n1\r\nabc\r\n0\r\n\r\n'],
    ['T02: a length among the trailers', 'ok\r\n0\r\nContent-Length: 9\r\n\r\n'],
    ['T02: NUL in a trailer', 'ok\r\n0\r\nX-T: a\0b\r\n\r\n'],
    ['T02: a control character in a trailer', 'ok\r\n0\r\nX-T: a\x01b\r\n\r\n'],
  ])('%s: the response looks truncated', async (_name, rest) => {
    const { port, backend } = await setUp((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n');
      afterRead(() => socket.write(Buffer.from(rest, 'latin1')));
    });
    const response = await rawRequest(port, 'GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n');
    expect([response.status, response.framingComplete]).toEqual([200, false]);
    expect(response.content.toString()).toMatch(/^ok|^$/);
    await othersAreServed(port, backend);
  });
});

describe('a Connection field among the trailers', () => {
  test.each(['Connection: close', 'Connection: keep-alive', 'Proxy-Connection: close', 'CONNECTION: x'])(
    '%s: the response is complete, the connection is not reused, and the backend is not blamed',
    async (trailer) => {
      const answered: number[] = [];
      const { port, backend, proxy } = await setUp((socket, request, index) => {
        answered.push(backend.received.findIndex((bytes) => bytes.includes(`n${index}`)));
        const content = request.field('x-nonce') ?? '';
        socket.write(`HTTP/1.1 200 OK\r\nX-Nonce: ${content}\r\nTransfer-Encoding: chunked\r\n\r\n`);
        socket.write(`2\r\n${content}\r\n0\r\n${trailer}\r\n\r\n`);
      });
      const failures: unknown[] = [];
      proxy.events.on('attemptFailed', (event) => failures.push(event));
      const client = cleanup.add(await RawClient.connect(port));
      for (const text of ['n0', 'n1', 'n2']) {
        client.send(nonce(text));
        const response = await client.response();
        expect([response.status, response.content.toString(), response.framingComplete]).toEqual([200, text, true]);
      }
      expect([failures, answered]).toEqual([[], [0, 1, 2]]);
      await eventually('they are closed', () => backend.connections.size === 0);
      await othersAreServed(port, backend);
    },
  );
});

describe('T08, K6: unsolicited bytes of a backend never become a response', () => {
  test.each([
    ['an answer', SMUGGLED],
    ['half an answer', SMUGGLED.slice(0, 20)],
    ['garbage', 'garbage\r\n\r\n'],
    ['one byte', 'H'],
  ])('%s after the response, in the same packet', async (_name, extra) => {
    const { port, backend } = await setUp((socket, request) => {
      const text = request.field('x-nonce') ?? '';
      socket.write(`HTTP/1.1 200 OK\r\nX-Nonce: ${text}\r\nContent-Length: ${text.length}\r\n\r\n${text}${extra}`);
    });
    const client = cleanup.add(await RawClient.connect(port));
    for (const text of ['first', 'second', 'third']) {
      client.send(nonce(text));
      const response = await client.response();
      expect([response.status, response.field('x-nonce'), response.content.toString()]).toEqual([200, text, text]);
      expect(response.field('x-evil')).toBeUndefined();
    }
    expect(client.pending).toHaveLength(0);
    expect(backend.received).toHaveLength(3);
  });

  test.each([
    ['an answer', SMUGGLED],
    ['half an answer', SMUGGLED.slice(0, 20)],
    ['garbage', 'garbage\r\n\r\n'],
    ['one byte', 'H'],
  ])('%s on an idle connection closes the connection', async (_name, extra) => {
    const { port, backend } = await setUp(answerOk);
    expect((await rawRequest(port, nonce('first'))).content.toString()).toBe('first');
    const [idle] = backend.connections;
    idle?.write(extra);
    await eventually('the idle connection is closed', () => backend.connections.size === 0);
    await othersAreServed(port, backend);
    expect(backend.received).toHaveLength(2);
  });

  test('a response that arrives together with the next request is not taken for its response', async () => {
    const { port, backend } = await setUp(answerOk);
    await rawRequest(port, nonce('first'));
    const [idle] = backend.connections;
    // Both are on their way before the gateway's loop sees either.
    idle?.write(SMUGGLED);
    const response = await rawRequest(port, nonce('second'));
    expect([response.status, response.field('x-evil'), response.content.toString()]).toEqual([
      200,
      undefined,
      'second',
    ]);
  });

  const TIMEOUT = 'HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n';

  describe('a 408 that closes a kept connection while the next request is sent', () => {
    /** Kept connections get a 408, new ones `ok`. */
    const setUpTimeouts = () => {
      const seen = new Set<unknown>();
      return setUp((socket) => {
        socket.write(seen.has(socket) ? TIMEOUT : 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
        seen.add(socket);
      });
    };
    const send = async (port: number, request: string) => {
      const client = cleanup.add(await RawClient.connect(port));
      client.send(request);
      return (await client.response(request.split(' ')[0])).status;
    };

    test.each([
      ['GET', 'GET / HTTP/1.1\r\nHost: a\r\n\r\n', 200],
      ['HEAD', 'HEAD / HTTP/1.1\r\nHost: a\r\n\r\n', 200],
      ['PUT with a body', 'PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi', 200],
      ['POST, which must not be repeated', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi', 502],
      ['a body of which half is there', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nhi', 502],
    ])('is not taken for its response: %s', async (_name, request, status) => {
      const { port, proxy } = await setUpTimeouts();
      expect(await send(port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')).toBe(200);
      expect(await send(port, request)).toBe(status);
      expect(proxy.status()[0]).toMatchObject({ available: true });
    });

    test('is not taken for its response by undiciTransport(), which has no retry', async () => {
      const { backend } = await setUpTimeouts();
      const app = express().use(createProxyMiddleware({ target: backend.url, plugins: [undiciTransport()] }));
      const { port } = cleanup.add(await listen(app));
      expect(await send(port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')).toBe(200);
      expect(await send(port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')).toBe(504);
    });

    test.each([
      ['on a new connection', TIMEOUT, 0, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'],
      ['that closes nothing', TIMEOUT.replace('close', 'keep-alive'), 1, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'],
      ['to a client that is slow', TIMEOUT, 1, 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nhi'],
    ])('is delivered when the request caused it: one %s', async (_name, response, from, request) => {
      let count = 0;
      const { port } = await setUp((socket, { method }) => {
        const bytes = count >= from ? response : 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
        count += 1;
        // Longer than the news of a closed connection may take.
        setTimeout(() => socket.write(bytes), method === 'POST' ? 1_200 : 0);
      });
      for (let i = 0; i < from; i += 1) expect(await send(port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n')).toBe(200);
      expect(await send(port, request)).toBe(408);
    });
  });

  test('content after 204, 304 and a response to HEAD is not taken for the next response', async () => {
    const { port, backend } = await setUp((socket, { method, target }) => {
      if (method === 'HEAD') socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${SMUGGLED.length}\r\n\r\n${SMUGGLED}`);
      else if (target === '/304') socket.write(`HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n${SMUGGLED}`);
      else if (target === '/204') socket.write(`HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n${SMUGGLED}`);
      else if (target === '/chunked') {
        socket.write('HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n');
      } else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    });
    const client = cleanup.add(await RawClient.connect(port));
    for (const [method, target, status, length] of [
      ['HEAD', '/', 200, String(SMUGGLED.length)],
      ['GET', '/204', 204, undefined],
      ['GET', '/304', 304, '5'],
      ['GET', '/chunked', 204, undefined],
    ] as const) {
      client.send(`${method} ${target} HTTP/1.1\r\nHost: a\r\n\r\n`);
      const response = await client.response(method);
      // C06, R26: 204 has neither length nor coding, the others say what GET would have.
      expect([response.status, response.field('content-length')]).toEqual([status, length]);
      expect(response.field('transfer-encoding')).toBeUndefined();
      client.send(GET);
      expect((await client.response()).content.toString()).toBe('ok');
    }
    expect(client.pending).toHaveLength(0);
    await othersAreServed(port, backend);
  });
});

describe('a backend with keepAlive: false', () => {
  test('gets one request per connection, and its responses never reach another request', async () => {
    const backend = cleanup.add(
      await RecorderBackend.start((socket, request) => {
        answerOk(socket, request, 0);
        // A response that the next request on this connection would get.
        setImmediate(() => socket.write(SMUGGLED));
      }),
    );
    const { port, proxy } = cleanup.add(await proxyGateway({ backends: [{ url: backend.url, keepAlive: false }] }));
    const client = cleanup.add(await RawClient.connect(port));
    for (const text of ['a', 'b', 'c', 'd']) {
      client.send(nonce(text));
      expect((await client.response()).content.toString()).toBe(text);
    }
    expect(backend.received.length).toBe(4);
    expect(backend.requests.map((request) => request.field('connection'))).toEqual(Array(4).fill('close'));
    await eventually('all connections are closed', () => backend.connections.size === 0);
    expect(proxy.status()[0]?.inFlight).toBe(0);
  });

  test('can be switched on and off while the backend stays in the pool', async () => {
    const { port, backend, proxy } = await setUp(answerOk);
    const ask = async () => {
      const { content } = await rawRequest(port, nonce('x'));
      expect(content.toString()).toBe('x');
      // A connection is free one turn of the event loop after its response.
      await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
      return backend.received.length;
    };
    expect([await ask(), await ask()]).toEqual([1, 1]);
    proxy.setBackends([{ url: backend.url, keepAlive: false }]);
    expect([await ask(), await ask()]).toEqual([2, 3]);
    proxy.setBackends([backend.url]);
    expect([await ask(), await ask()]).toEqual([4, 4]);
  });
});
