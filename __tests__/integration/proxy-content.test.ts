import { createHash, randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, jest, test } from '@jest/globals';
import express from 'express';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { afterRead, pause } from '../support/pause.ts';
import { PROTOCOLS } from '../support/protocols.ts';
import { RawClient, rawRequest } from '../support/raw-client.ts';
import { answer, RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { eventually, listen, standsStill } from '../support/servers.ts';
import { expectWarnings } from '../support/warnings.ts';

expectWarnings('ERR_EXPRESSWAY_BODY_ALREADY_READ');

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

type Options = Partial<Parameters<typeof proxyGateway>[0]>;

async function setUp(script: Script, options: Options = {}, serverOf = PROTOCOLS[0]?.serverOf) {
  const backend = cleanup.add(await RecorderBackend.start(script));
  const gateway = cleanup.add(await proxyGateway({ backends: [backend.url], ...options }, undefined, serverOf));
  return { backend, ...gateway };
}

const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

describe('content', () => {
  test('C12: megabytes both ways, by length and chunked, arrive equal', async () => {
    const echo = cleanup.add(
      await listen((req, res) => {
        const hash = createHash('sha256');
        req.on('data', (chunk) => hash.update(chunk));
        req.on('end', () =>
          res.end(JSON.stringify({ hash: hash.digest('hex'), framing: req.headers['transfer-encoding'] })),
        );
      }),
    );
    const { url } = cleanup.add(await proxyGateway({ backends: [echo.url] }));
    const content = randomBytes(8 * 1024 * 1024);
    const hash = createHash('sha256').update(content).digest('hex');
    expect(await (await fetch(url, { method: 'POST', body: content })).json()).toEqual({ hash });
    const stream = new ReadableStream({
      start(controller) {
        for (let i = 0; i < content.length; i += 65_536) controller.enqueue(content.subarray(i, i + 65_536));
        controller.close();
      },
    });
    const chunked = await fetch(url, { method: 'PUT', body: stream, duplex: 'half' } as RequestInit);
    expect(await chunked.json()).toEqual({ hash, framing: 'chunked' });
    const source = cleanup.add(await listen((_req, res) => void res.end(content)));
    const { url: down } = cleanup.add(await proxyGateway({ backends: [source.url] }));
    const got = Buffer.from(await (await fetch(down)).arrayBuffer());
    expect(createHash('sha256').update(got).digest('hex')).toBe(hash);
  });

  test('C12: a slow reader pauses the backend', async () => {
    let written = 0;
    let stopped = false;
    const { port } = await setUp((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n');
      const chunk = Buffer.alloc(65_536);
      const pump = (): void => {
        if (stopped) return;
        written += chunk.length;
        if (socket.write(chunk)) setImmediate(pump);
        else socket.once('drain', pump);
      };
      pump();
    });
    const client = cleanup.add(await RawClient.connect(port));
    client.socket.pause();
    client.send(GET);
    await standsStill('the backend stops writing', () => written);
    stopped = true;
    expect(written).toBeLessThan(64 * 1024 * 1024);
  });

  test('C12: a backend that reads slowly pauses the client', async () => {
    const { port, backend } = await setUp((socket) => void socket.pause());
    const client = cleanup.add(await RawClient.connect(port));
    client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n');
    const chunk = Buffer.alloc(65_536);
    let sent = 0;
    await eventually('the client can send no more', async () => {
      while (client.socket.writableLength === 0 && sent < 256 * 1024 * 1024) {
        client.socket.write(chunk);
        sent += chunk.length;
        await new Promise((resolve) => setImmediate(resolve));
      }
      const before = client.socket.writableLength;
      await pause('what can move moves meanwhile', 200);
      return before > 0 && client.socket.writableLength === before;
    });
    expect(backend.requests).toHaveLength(1);
    expect(sent).toBeLessThan(64 * 1024 * 1024);
  });

  test('compressed content passes byte by byte', async () => {
    const zipped = gzipSync('x'.repeat(10_000));
    const { port, backend } = await setUp((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: ${zipped.length}\r\n\r\n`);
      socket.write(zipped);
    });
    const response = await rawRequest(port, 'GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n');
    expect(response.content.equals(zipped)).toBe(true);
    expect(response.field('content-encoding')).toBe('gzip');
    expect(backend.requests[0]?.field('accept-encoding')).toBe('gzip');
  });

  test('C01: an HTTP/1.0 client gets no chunks and a closed connection; a close-delimited response arrives whole', async () => {
    const chunked = await setUp(answer('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n'));
    const old = await rawRequest(chunked.port, 'GET / HTTP/1.0\r\nHost: a\r\n\r\n');
    expect([old.field('transfer-encoding'), old.content.toString(), old.framingComplete]).toEqual([
      undefined,
      'ok',
      true,
    ]);
    const closing = await setUp((socket) => void socket.end('HTTP/1.0 200 OK\r\n\r\nuntil the end'));
    const whole = await rawRequest(closing.port, GET);
    expect([whole.content.toString(), whole.framingComplete]).toEqual(['until the end', true]);
  });

  test('C15: pipelined requests get responses in order', async () => {
    const { port } = await setUp((socket, request) => {
      const nonce = request.field('x-nonce') ?? '';
      setTimeout(
        () => socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${nonce.length}\r\n\r\n${nonce}`),
        (Number(nonce) * 7) % 20,
      );
    });
    const client = cleanup.add(await RawClient.connect(port));
    const nonces = Array.from({ length: 50 }, (_, i) => String(i));
    client.send(nonces.map((n) => `GET / HTTP/1.1\r\nHost: a\r\nX-Nonce: ${n}\r\n\r\n`).join(''));
    const answers: string[] = [];
    for (const _ of nonces) answers.push((await client.response()).content.toString());
    expect(answers).toEqual(nonces);
  });

  test('C16: events of a stream arrive one by one, and the head does not wait for content', async () => {
    let stream: Parameters<Script>[0] | undefined;
    const { port } = await setUp((socket) => {
      stream = socket;
      socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n');
    });
    const client = cleanup.add(await RawClient.connect(port));
    client.send(GET);
    await client.until((bytes) => bytes.includes('\r\n\r\n'));
    for (const event of ['data: 1\n\n', 'data: 2\n\n']) {
      stream?.write(event);
      await client.until((bytes) => bytes.includes(event));
    }
  });

  test.each(['json', 'raw'])(
    'C12: content that express.%s() read before the proxy gives 500 with the reason',
    async (parser) => {
      const backend = cleanup.add(await RecorderBackend.start());
      const { url } = cleanup.add(
        await proxyGateway({ backends: [backend.url] }, (app) => {
          app.use(parser === 'json' ? express.json() : express.raw({ type: () => true }));
        }),
      );
      const response = await fetch(url, {
        method: 'POST',
        body: '{"a":1}',
        headers: { 'content-type': 'application/json' },
      });
      expect(response.status).toBe(500);
      expect(await response.json()).toMatchObject({
        detail: expect.stringContaining('ERR_EXPRESSWAY_BODY_ALREADY_READ'),
      });
      expect(backend.requests).toHaveLength(0);
      expect((await fetch(url)).status).toBe(200);
    },
  );
});

describe.each(PROTOCOLS)('over $name', ({ serverOf, connect, request }) => {
  test('C06: HEAD, 204 and 304 have no content, and the connection goes on', async () => {
    const { port } = await setUp(
      (socket, request) => {
        if (request.method === 'HEAD') socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n');
        else if (request.target === '/204') socket.write('HTTP/1.1 204 No Content\r\n\r\n');
        else if (request.target === '/304') {
          socket.write('HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 77\r\n\r\n');
        } else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      },
      {},
      serverOf,
    );
    const client = cleanup.add(await connect(port));
    client.send('HEAD / HTTP/1.1\r\nHost: a\r\n\r\n');
    const head = await client.response('HEAD');
    expect([head.status, head.field('content-length')]).toEqual([200, '1000']);
    client.send('GET /204 HTTP/1.1\r\nHost: a\r\n\r\n');
    expect((await client.response()).status).toBe(204);
    client.send('GET /304 HTTP/1.1\r\nHost: a\r\n\r\n');
    expect((await client.response()).field('etag')).toBe('"x"');
    client.send(GET);
    expect((await client.response()).content.toString()).toBe('ok');
  });

  test.each([
    ['without content', 'Content-Length: 0\r\n\r\n'],
    ['with a length', 'Content-Length: 4\r\n\r\nbody'],
    ['with chunks', 'Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n'],
    ['with empty chunks', 'Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['with trailers', 'Trailer: x-t\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-T: 1\r\n\r\n'],
    ['that ends with the connection', 'Connection: close\r\n\r\nbody'],
    ['that ends with the connection, and is empty', 'Connection: close\r\n\r\n'],
  ])('RFC 9110 §15.3.6: a 205 %s is complete', async (_title, rest) => {
    const script: Script = (socket) => {
      socket.write(`HTTP/1.1 205 Reset Content\r\nX-A: 1\r\n${rest}`);
      if (rest.startsWith('Connection')) socket.end();
    };
    const { port, proxy } = await setUp(script, {}, serverOf);
    const outcomes: string[] = [];
    proxy.events.on('forwarded', ({ outcome }) => outcomes.push(outcome.kind));
    for (const text of [GET, 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab']) {
      const response = await request(port, text);
      expect([response.status, response.field('x-a'), response.framingComplete]).toEqual([205, '1', true]);
    }
    expect(outcomes).toEqual(['completed', 'completed']);
  });

  test('RFC 9110 §15.3.6: a 205 that breaks off looks truncated', async () => {
    const bytes = 'HTTP/1.1 205 Reset Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n';
    const { port, proxy } = await setUp((socket) => void socket.end(bytes), {}, serverOf);
    const outcomes: string[] = [];
    proxy.events.on('forwarded', ({ outcome }) => outcomes.push(outcome.kind));
    expect((await request(port, GET)).framingComplete).toBe(false);
    expect(outcomes).toEqual(['failed']);
  });

  test.each([
    ['9007199254740992', 502],
    ['99999999999999999999', 502],
    ['9007199254740991', 200],
  ])('R12: a backend is to blame for a Content-Length of %s: %d', async (length, status) => {
    const bytes = `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\nab`;
    const script: Script = (socket) => void socket.write(bytes, () => afterRead(() => socket.end()));
    const { port, proxy } = await setUp(script, { circuit: { minimumRequests: 1, consecutiveFailures: 1 } }, serverOf);
    expect((await request(port, GET)).status).toBe(status);
    await eventually('the circuit opens', () => proxy.status()[0]?.circuit === 'open');
  });

  test('C08: Expect: 100-continue gets 100, and is not forwarded', async () => {
    const { port, backend } = await setUp(answer('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'), {}, serverOf);
    const client = cleanup.add(await connect(port));
    client.send('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n');
    expect((await client.response()).status).toBe(100);
    client.send('hello');
    expect((await client.response()).status).toBe(200);
    expect(backend.requests[0]?.field('expect')).toBeUndefined();
  });

  test('C14: framing of requests with, without and with empty content', async () => {
    const { port, backend } = await setUp(answer('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'), {}, serverOf);
    const client = cleanup.add(await connect(port));
    for (const request of [
      'POST / HTTP/1.1\r\nHost: a\r\n\r\n',
      'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n',
      'DELETE / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody',
      'GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody',
      GET,
    ]) {
      client.send(request);
      expect((await client.response()).content.toString()).toBe('ok');
    }
    expect(backend.requests.map((r) => r.field('content-length'))).toEqual(['0', '0', '4', '4', undefined]);
  });

  test.each([
    ['length', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf', 'FIN'],
    ['length', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf', 'RST'],
    ['chunked', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n', 'FIN'],
    ['chunked', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n', 'RST'],
    [
      'chunked, to close',
      'HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n',
      'FIN',
    ],
  ])('T01: a response by %s cut by %s after %j... looks truncated', async (_framing, bytes, end) => {
    const { port, proxy, backend } = await setUp(
      (socket) => {
        socket.write(bytes, () => afterRead(() => (end === 'FIN' ? socket.end() : socket.resetAndDestroy())));
      },
      {},
      serverOf,
    );
    const outcomes: string[] = [];
    proxy.events.on('forwarded', ({ outcome }) =>
      outcomes.push(outcome.kind === 'failed' ? outcome.cause : outcome.kind),
    );
    const response = await request(port, GET);
    expect([response.status, response.content.toString(), response.framingComplete]).toEqual([200, 'half', false]);
    expect(outcomes).toEqual(['http_response_incomplete']);
    expect(backend.requests).toHaveLength(1);
  });

  test('a small response that breaks off is replaced by that of another backend', async () => {
    const { port, backend, proxy } = await setUp(
      (socket) => {
        const head = 'HTTP/1.1 200 Fine\r\nX-First: 1\r\nETag: "a"\r\nContent-Length: 10\r\n\r\n';
        socket.write(head, () => afterRead(() => socket.destroy()));
      },
      {},
      serverOf,
    );
    const alone = await request(port, GET);
    expect([alone.status, alone.field('x-first'), alone.field('etag')]).toEqual([502, undefined, undefined]);
    const other = cleanup.add(await RecorderBackend.start());
    proxy.setBackends([backend.url, other.url]);
    for (let i = 0; i < 2; i += 1) {
      const whole = await request(port, GET);
      expect([whole.status, whole.content.toString(), whole.field('x-first')]).toEqual([200, 'ok', undefined]);
    }
  });

  test('F07: a client that leaves aborts the request at the backend, and counts against no backend', async () => {
    const { port, backend, proxy } = await setUp(() => {}, {}, serverOf);
    for (let i = 0; i < 20; i += 1) {
      const client = await connect(port);
      client.send(GET);
      await eventually('the request arrives', () => backend.requests.length === i + 1);
      client.close();
      await eventually('the backend sees the end', () => backend.connections.size === 0);
    }
    await eventually('nothing is in flight', () => proxy.status()[0]?.inFlight === 0);
    expect(proxy.status()[0]?.circuit).toBe('closed');
  });

  test('T04: an aborted upload never looks complete to the backend', async () => {
    const { port, backend } = await setUp(() => {}, {}, serverOf);
    const client = await connect(port);
    client.send('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n');
    await eventually('content arrives', () => backend.received[0]?.includes('half'));
    client.close();
    await eventually('the backend sees the end', () => backend.connections.size === 0);
    expect(backend.received[0]?.toString('latin1')).not.toContain('\r\n0\r\n');
  });
});

describe('faults', () => {
  test.each([
    ['a reset before the head', (socket) => void socket.resetAndDestroy(), 502, 'connection_terminated'],
    ['an end before the head', (socket) => void socket.end(), 502, 'connection_terminated'],
    ['no HTTP at all', answer('SSH-2.0-OpenSSH_9\r\n\r\n'), 502, 'http_protocol_error'],
    [
      'length and chunked at once',
      answer('HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'),
      502,
      'http_protocol_error',
    ],
    [
      'a head of endless fields',
      answer(`HTTP/1.1 200 OK\r\nX: ${'x'.repeat(70_000)}`),
      502,
      'http_response_header_section_size',
    ],
    [
      'a control character in a field',
      answer('HTTP/1.1 200 OK\r\nX-A: a\x01b\r\nContent-Length: 0\r\n\r\n'),
      502,
      'http_protocol_error',
    ],
    ['silence', () => {}, 504, 'http_response_timeout'],
  ] as [string, Script, number, string][])('%s gives a clear answer', async (_name, script, status, cause) => {
    const { url, port, backend, proxy } = await setUp(script, { responseTimeoutMs: 300 });
    const response = await fetch(url);
    const problem = await response.text();
    expect([response.status, JSON.parse(problem).cause]).toEqual([status, cause]);
    expect(response.headers.get('proxy-status')).toContain(`error=${cause}`);
    expect(response.headers.get('x-a')).toBeNull();
    expect(problem).not.toContain(String(backend.port));
    expect(backend.requests).toHaveLength(1);
    await eventually('nothing is in flight', () => proxy.status()[0]?.inFlight === 0);
    backend.script = answer('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    expect((await rawRequest(port, GET)).content.toString()).toBe('ok');
  });

  test('a retry drops headers of the failed backend, and keeps those of the app', async () => {
    const head =
      'HTTP/1.1 200 OK\r\nSet-Cookie: a=first\r\nSet-Cookie: b=first\r\nRateLimit: "first";r=1\r\nContent-Length: 10\r\n\r\n';
    const first = cleanup.add(
      await RecorderBackend.start((socket) => void socket.write(head, () => afterRead(() => socket.destroy()))),
    );
    const second = cleanup.add(
      await RecorderBackend.start(answer('HTTP/1.1 200 OK\r\nSet-Cookie: a=second\r\nContent-Length: 2\r\n\r\nok')),
    );
    const { port } = cleanup.add(
      await proxyGateway({ backends: [first.url, second.url] }, (app) => {
        app.use((_req, res, next) => {
          res.setHeader('Set-Cookie', 'app=1');
          res.setHeader('RateLimit', '"ip";r=9');
          next();
        });
      }),
    );
    const response = await rawRequest(port, GET);
    expect(first.requests).toHaveLength(1);
    expect([response.status, response.content.toString()]).toEqual([200, 'ok']);
    expect(response.all('set-cookie')).toEqual(['app=1', 'a=second']);
    expect(response.all('ratelimit')).toEqual(['"ip";r=9']);
  });

  test('a response that stalls is cut after idleTimeoutMs; an event stream is not', async () => {
    const { port, proxy, backend } = await setUp(answer('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf'), {
      idleTimeoutMs: 300,
    });
    const outcomes: unknown[] = [];
    proxy.events.on('forwarded', ({ outcome }) => outcomes.push(outcome));
    const cut = await rawRequest(port, GET);
    expect([cut.content.toString(), cut.framingComplete]).toEqual(['half', false]);
    expect(outcomes).toMatchObject([
      {
        cause: 'connection_read_timeout',
        error: { message: 'The backend sent nothing for 300 ms (idleTimeoutMs, IDLE_TIMEOUT_MS)', code: 'ETIMEDOUT' },
      },
    ]);
    let stream: Parameters<Script>[0] | undefined;
    backend.script = (socket) => {
      stream = socket;
      socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n');
    };
    const client = cleanup.add(await RawClient.connect(port));
    client.send(GET);
    await client.until((bytes) => bytes.includes('data: 1'));
    await pause('three times idleTimeoutMs', 900);
    stream?.write('data: 2\n\n');
    await client.until((bytes) => bytes.includes('data: 2'));
  });

  test('F04: a POST that a backend read before it dropped the connection is not sent again', async () => {
    const drop: Script = (socket) => afterRead(() => socket.resetAndDestroy());
    const first = cleanup.add(await RecorderBackend.start(drop));
    const second = cleanup.add(await RecorderBackend.start(drop));
    const { url } = cleanup.add(await proxyGateway({ backends: [first.url, second.url] }));
    expect((await fetch(url, { method: 'POST', body: 'pay' })).status).toBe(502);
    expect(first.requests.length + second.requests.length).toBe(1);
  });
});

test('after close() a request gets 503, and opens no connection', async () => {
  const { url, proxy, backend } = await setUp(answer('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'));
  expect((await fetch(url)).status).toBe(200);
  await proxy.close();
  await eventually('the connections are closed', () => backend.connections.size === 0);
  expect((await fetch(url)).status).toBe(503);
  expect(backend.connections.size).toBe(0);
  expect(backend.requests).toHaveLength(1);
});

test('50 requests on one connection leave no listeners behind', async () => {
  const warn = jest.spyOn(process, 'emitWarning');
  const { port, proxy } = await setUp(answer('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'));
  const client = cleanup.add(await RawClient.connect(port));
  for (let i = 0; i < 50; i += 1) {
    client.send(GET);
    expect((await client.response()).status).toBe(200);
  }
  await proxy.close();
  expect(warn).not.toHaveBeenCalled();
  warn.mockRestore();
});
