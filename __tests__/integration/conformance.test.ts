import { createServer, type RequestListener } from 'node:http';
import { afterEach, describe, expect, test } from '@jest/globals';
import express, { type Express } from 'express';
import { hardenServer, ipRateLimit, undiciTransport } from 'expressway';
import { createProxyMiddleware } from 'http-proxy-middleware';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { hardenedGateway } from '../support/hardened-gateway.ts';
import { PROTOCOLS } from '../support/protocols.ts';
import { RawClient, rawRequest } from '../support/raw-client.ts';
import { answer, answerOk, RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { listen } from '../support/servers.ts';
import { expectWarnings } from '../support/warnings.ts';

expectWarnings('WARN_EXPRESSWAY_LOOP', 'WARN_EXPRESSWAY_TRUST_PROXY');

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

type Options = Partial<Parameters<typeof proxyGateway>[0]>;

async function setUp(
  script: Script = answerOk,
  options: Options = {},
  prepare?: (app: Express) => void,
  serverOf = PROTOCOLS[0]?.serverOf,
) {
  const backend = cleanup.add(await RecorderBackend.start(script));
  const gateway = cleanup.add(await proxyGateway({ backends: [backend.url], ...options }, prepare, serverOf));
  return { backend, ...gateway };
}

const get = (fields = '', target = '/') => `GET ${target} HTTP/1.1\r\nHost: gw.example\r\n${fields}\r\n`;

describe('C09, R3: Via', () => {
  test('has a random pseudonym for each proxy, which reveals nothing of the machine', async () => {
    const one = await setUp();
    const two = await setUp();
    await rawRequest(one.port, get());
    await rawRequest(two.port, get());
    const seen = [one, two].map(({ backend }) => backend.requests[0]?.field('via') ?? '');
    for (const via of seen) expect(via).toMatch(/^1\.1 expressway-[0-9a-f]{6}$/);
    expect(seen[0]).not.toBe(seen[1]);
  });

  test('is appended to the received lines, with the received version, even if Connection names it', async () => {
    const { backend, port } = await setUp(answerOk, { via: 'edge' });
    await rawRequest(port, get('Via: 1.0 fred\r\nVia: HTTP/1.1 p.example:80 (a, b)\r\nConnection: Via\r\n'));
    await rawRequest(port, 'GET / HTTP/1.0\r\nHost: a\r\n\r\n');
    expect(backend.requests.map((request) => request.all('via'))).toEqual([
      ['1.0 fred, HTTP/1.1 p.example:80 (a, b), 1.1 edge'],
      ['1.0 edge'],
    ]);
  });

  test('passes unchanged when it is switched off', async () => {
    const { backend, port } = await setUp(answerOk, { via: false });
    await rawRequest(port, get('Via: 1.0 fred\r\nVia: 1.1 barney\r\n'));
    await rawRequest(port, get());
    expect(backend.requests.map((request) => request.all('via'))).toEqual([['1.0 fred', '1.1 barney'], []]);
  });

  test.each(['', 'two words', 'a/b', 'a,b', true, 1])('%j is refused as a pseudonym', async (via) => {
    await expect(proxyGateway({ backends: ['http://127.0.0.1:1'], via: via as string })).rejects.toThrow(/via must be/);
  });

  test('is not added to responses', async () => {
    const { port } = await setUp(answer('HTTP/1.1 200 OK\r\nVia: 1.1 inner\r\nContent-Length: 0\r\n\r\n'));
    expect((await rawRequest(port, get())).all('via')).toEqual(['1.1 inner']);
  });
});

describe('C11, R13: loops', () => {
  test('a gateway that is its own backend detects the loop after one round', async () => {
    let rounds = 0;
    const gateway = cleanup.add(
      await proxyGateway({ backends: ['http://127.0.0.1:1'] }, (app) => {
        app.use((_req, _res, next) => {
          rounds += 1;
          next();
        });
      }),
    );
    gateway.proxy.setBackends([gateway.url]);
    const response = await rawRequest(gateway.port, get());
    expect(response.status).toBe(508);
    expect(JSON.parse(response.content.toString())).toMatchObject({ cause: 'loop_detected', status: 508 });
    expect(response.field('proxy-status')).toBe('expressway; error=proxy_loop_detected');
    expect(rounds).toBe(2);
    // Nobody is to blame but the configuration: the circuit stays closed.
    expect(gateway.proxy.status()[0]).toMatchObject({ inFlight: 0 });
  });

  test('two gateways in a chain are no loop, two that forward to each other are', async () => {
    const inner = await setUp();
    const outer = cleanup.add(await proxyGateway({ backends: [inner.url] }));
    expect((await rawRequest(outer.port, get())).status).toBe(200);
    expect(inner.backend.requests[0]?.field('via')?.split(', ')).toHaveLength(2);
    inner.proxy.setBackends([outer.url]);
    expect((await rawRequest(outer.port, get())).status).toBe(508);
  });

  test('an upgrade in a loop is refused as well', async () => {
    const gateway = cleanup.add(await proxyGateway({ backends: ['http://127.0.0.1:1'] }));
    gateway.proxy.setBackends([gateway.url]);
    const upgrade =
      'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n';
    expect((await rawRequest(gateway.port, get(upgrade))).status).toBe(508);
  });

  test.each([
    ['1.1 edge', 508],
    ['1.0 edge (gateway)', 508],
    ['HTTP/1.1 a, 1.1 edge, 1.1 b', 508],
    ['1.1 edge-2', 200],
    ['1.1 the.edge', 200],
    ['1.1 other (edge)', 200],
    ['edge', 200],
  ])('the pseudonym is compared as a whole, and not with comments: %s', async (via, status) => {
    const { port } = await setUp(answerOk, { via: 'edge' });
    expect((await rawRequest(port, get(`Via: ${via}\r\nConnection: via\r\n`))).status).toBe(status);
  });
});

const options = (fields: string, target = '/x') => `OPTIONS ${target} HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;

describe.each(PROTOCOLS)('C10, R4: Max-Forwards, over $name', ({ serverOf, request }) => {
  test.each(['0', '00'])('the gateway responds to OPTIONS with %s', async (forwards) => {
    const { backend, port, proxy } = await setUp(answerOk, {}, undefined, serverOf);
    const response = await request(port, options(`Max-Forwards: ${forwards}\r\nConnection: Max-Forwards\r\n`));
    expect([response.status, response.field('allow')]).toEqual([204, 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS']);
    expect(backend.requests).toEqual([]);
    expect(proxy.load().inFlight).toBe(0);
  });

  test.each([
    ['5', '4'],
    ['1', '0'],
    ['99999999999999999999', '2147483646'],
    ['abc', 'abc'],
    ['-1', '-1'],
    ['1.5', '1.5'],
  ])('OPTIONS with %s is forwarded with %s', async (before, after) => {
    const { backend, port } = await setUp(answerOk, {}, undefined, serverOf);
    expect((await request(port, options(`Max-Forwards: ${before}\r\nConnection: Max-Forwards\r\n`))).status).toBe(200);
    expect(backend.requests[0]?.all('max-forwards')).toEqual([after]);
  });

  test('Max-Forwards is not added, and is not changed for other methods', async () => {
    const { backend, port } = await setUp(answerOk, {}, undefined, serverOf);
    await request(port, options(''));
    await request(port, get('Max-Forwards: 0\r\n'));
    expect(backend.requests.map((request) => request.field('max-forwards'))).toEqual([undefined, '0']);
  });

  test('Max-Forwards falls by one, however many attempts there are', async () => {
    const dying = cleanup.add(await RecorderBackend.start((socket) => void socket.resetAndDestroy()));
    const { backend, port, proxy } = await setUp(answerOk, {}, undefined, serverOf);
    proxy.setBackends([dying.url, backend.url]);
    for (let i = 0; i < 2; i += 1) await request(port, options('Max-Forwards: 5\r\n'));
    expect(dying.requests.length).toBeGreaterThan(0);
    for (const request of [...dying.requests, ...backend.requests]) expect(request.field('max-forwards')).toBe('4');
  });

  test.each(['', 'Max-Forwards: 0\r\n', 'Max-Forwards: 3\r\n'])(
    'TRACE is refused, and reflects nothing: %j',
    async (extra) => {
      const { backend, port } = await setUp(answerOk, { maxInFlight: 1 }, undefined, serverOf);
      const response = await request(port, `TRACE /x HTTP/1.1\r\nHost: a\r\nCookie: secret=1\r\n${extra}\r\n`, 'TRACE');
      expect([response.status, response.field('allow')]).toEqual([405, 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS']);
      expect(response.content.toString()).not.toContain('secret');
      expect(backend.requests).toEqual([]);
      // It does not count as a request in progress.
      expect((await request(port, get(''))).status).toBe(200);
    },
  );
});

describe('C02: requests of HTTP/1.1 that the gateway responds to itself', () => {
  test.each(['*', 'http://gw.example'])('C02: the gateway responds to OPTIONS %s', async (target) => {
    const { backend, port } = await setUp();
    const client = cleanup.add(await RawClient.connect(port));
    client.send(options('', target) + get());
    const response = await client.response();
    expect([response.status, response.field('content-length'), response.content.length]).toEqual([204, undefined, 0]);
    expect((await client.response()).status).toBe(200);
    expect(backend.requests).toHaveLength(1);
  });

  test.each(['/files/*', 'http://gw.example/', 'http://gw.example?a'])('OPTIONS %s is forwarded', async (target) => {
    const { backend, port } = await setUp();
    expect((await rawRequest(port, options('', target))).status).toBe(200);
    expect(backend.requests.map(({ method }) => method)).toEqual(['OPTIONS']);
  });

  test('the response to OPTIONS * does not wait for a long body', async () => {
    const { port } = await setUp();
    const client = cleanup.add(await RawClient.connect(port));
    client.send(options('Content-Length: 1000000\r\n', '*'));
    const response = await client.response();
    expect([response.status, response.field('connection')]).toEqual([204, 'close']);
  });

  test.each(['gw.example:443', '127.0.0.1:22'])('CONNECT %s is refused', async (target) => {
    const backend = cleanup.add(await RecorderBackend.start());
    const { port } = cleanup.add(await hardenedGateway({ backends: [backend.url] }));
    const client = cleanup.add(await RawClient.connect(port));
    client.send(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n${get()}`);
    const response = await client.response();
    expect([response.status, response.field('connection')]).toEqual([405, 'close']);
    expect(response.field('allow')).toBe('GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS');
    await client.closed();
    expect(client.pending).toHaveLength(0);
    expect(backend.requests).toEqual([]);
  });
});

describe('C07, R9: informational responses', () => {
  const FINAL = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
  const hints =
    'HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: </b\xe9.js>; rel=preload\r\nX-Int: 1\r\n' +
    'Connection: X-Int\r\nKeep-Alive: timeout=1\r\nContent-Length: 5\r\n\r\n';
  const script = answer(
    `HTTP/1.1 102 Processing\r\n\r\n${hints}HTTP/1.1 103 Early Hints\r\nLink: </c>\r\nTransfer-Encoding: chunked\r\n\r\nHTTP/1.1 199 Own\r\n\r\n${FINAL}`,
  );

  const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n';
  describe.each(PROTOCOLS)('over $name', ({ serverOf, connect, request }) => {
    test.each([
      ['writeInformation()', false],
      ['what older versions of Node have', true],
    ])('are forwarded in order, without hop-by-hop fields, by %s', async (_way, old) => {
      const statuses: number[] = [];
      const { port } = await setUp(
        script,
        {},
        (app) => {
          app.use((_req, res, next) => {
            if (old) Object.assign(res, { writeInformation: undefined });
            res.setHeader('X-App', 'kept for the final answer');
            res.on('finish', () => statuses.push(res.statusCode));
            next();
          });
        },
        serverOf,
      );
      const client = cleanup.add(await connect(port));
      for (let i = 0; i < 2; i += 1) {
        client.send(get());
        const answers = [];
        for (let n = 0; n < 5; n += 1) answers.push(await client.response());
        expect(answers.map(({ status }) => status)).toEqual([102, 103, 103, 199, 200]);
        expect(answers[1]?.fields).toEqual([
          ['link', '</a.css>; rel=preload'],
          ['link', '</b\xe9.js>; rel=preload'],
        ]);
        expect(answers[2]?.fields).toEqual([['link', '</c>']]);
        expect([answers[4]?.content.toString(), answers[4]?.field('link')]).toEqual(['ok', undefined]);
        expect(answers[4]?.field('x-app')).toBe('kept for the final answer');
      }
      expect(statuses).toEqual([200, 200]);
    });

    test.each([
      ['100', CONTINUE, []],
      ['100 in HTTP/1.0', 'HTTP/1.0 100 Continue\r\n\r\n', []],
      ['100 ten times', CONTINUE.repeat(10), []],
      ['100 with fields', 'HTTP/1.1 100 Continue\r\nContent-Length: 5\r\nSet-Cookie: a=b\r\n\r\n', []],
      ['100 that closes', 'HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\n', []],
      ['100 with a coding', 'HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n', []],
      ['100 with an upgrade', 'HTTP/1.1 100 Continue\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n', []],
      ['103 that closes', 'HTTP/1.1 103 Early Hints\r\nConnection: close\r\n\r\n', [103]],
      ['103 in HTTP/1.0', 'HTTP/1.0 103 Early Hints\r\n\r\n', [103]],
      ['100, 103, 100', `${CONTINUE}HTTP/1.1 103 Early Hints\r\n\r\n${CONTINUE}`, [103]],
    ])('do not change the final response: %s', async (_name, bytes, passed) => {
      const { port, backend, proxy } = await setUp(answer(bytes + FINAL), {}, undefined, serverOf);
      let failures = 0;
      proxy.events.on('attemptFailed', () => {
        failures += 1;
      });
      const client = cleanup.add(await connect(port));
      for (let i = 0; i < 2; i += 1) {
        client.send(get());
        for (const status of passed) expect((await client.response()).status).toBe(status);
        const response = await client.response();
        expect([response.status, response.content.toString(), response.field('set-cookie')]).toEqual([
          200,
          'ok',
          undefined,
        ]);
      }
      expect(failures).toBe(0);
      // Nothing of it stays with the connection.
      if (!bytes.includes('1.0'))
        expect(backend.received.length).toBe(bytes.includes('103') && bytes.includes('close') ? 2 : 1);
    });

    test('arrive before the final response', async () => {
      let backendSocket: Parameters<Script>[0] | undefined;
      const { port } = await setUp(
        (socket) => {
          backendSocket = socket;
          socket.write('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n');
        },
        {},
        undefined,
        serverOf,
      );
      const client = cleanup.add(await connect(port));
      client.send(get());
      expect((await client.response()).status).toBe(103);
      backendSocket?.write(FINAL);
      expect((await client.response()).status).toBe(200);
    });

    test.each([11, 500])('G07: %d of them in a row are too many', async (count) => {
      const { port } = await setUp(answer(CONTINUE.repeat(count) + FINAL), {}, undefined, serverOf);
      const response = await request(port, get());
      expect([response.status, JSON.parse(response.content.toString()).cause]).toEqual([502, 'http_protocol_error']);
    });

    test.each([
      [10, 200],
      [11, 502],
      [500, 502],
    ])('G07: of %d in a row, the client gets %d', async (count, status) => {
      const { port, proxy } = await setUp(
        answer('HTTP/1.1 102 Processing\r\n\r\n'.repeat(count) + FINAL),
        {},
        undefined,
        serverOf,
      );
      const client = cleanup.add(await connect(port));
      client.send(get());
      for (let i = 0; i < 10; i += 1) expect((await client.response()).status).toBe(102);
      const response = await client.response();
      expect(response.status).toBe(status);
      if (status === 502) expect(JSON.parse(response.content.toString()).cause).toBe('http_protocol_error');
      expect(proxy.status()[0]?.inFlight).toBe(0);
    });
  });

  test('100 alone is no response, and 100 after a response is dropped', async () => {
    const { port, backend, proxy } = await setUp((socket) => void socket.end(CONTINUE));
    expect((await rawRequest(port, get())).status).toBe(502);
    backend.script = (socket, _request, index) => {
      socket.write(`${FINAL}${index === 1 ? CONTINUE : ''}`);
    };
    for (let i = 0; i < 3; i += 1) expect((await rawRequest(port, get())).status).toBe(200);
    expect(proxy.status()[0]?.inFlight).toBe(0);
  });

  test('undiciTransport() drops 100 too', async () => {
    const backend = cleanup.add(await RecorderBackend.start(answer(CONTINUE + FINAL)));
    const app = express();
    app.use(createProxyMiddleware({ target: backend.url, plugins: [undiciTransport()] }));
    const { port } = cleanup.add(await listen(app));
    const response = await rawRequest(port, get());
    expect([response.status, response.content.toString()]).toEqual([200, 'ok']);
  });

  test('are forwarded by undiciTransport() too, which survives invalid ones', async () => {
    const backend = cleanup.add(
      await RecorderBackend.start(
        answer(
          'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 caf\x01\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
        ),
      ),
    );
    const app = express();
    app.use(createProxyMiddleware({ target: backend.url, plugins: [undiciTransport()] }));
    const { port } = cleanup.add(await listen(app));
    const client = cleanup.add(await RawClient.connect(port));
    client.send(get());
    expect((await client.response()).field('link')).toBe('</a>');
    expect((await client.response()).startLine).toBe('HTTP/1.1 200 OK');
  });

  test('R32: are sent in order for pipelined requests', async () => {
    const { port } = await setUp((socket, { target }) => {
      const answers = `HTTP/1.1 103 Early Hints\r\nLink: <${target}>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n`;
      setTimeout(() => socket.write(answers), target === '/1' ? 60 : 0);
    });
    const client = cleanup.add(await RawClient.connect(port));
    client.send(get('', '/1') + get('', '/2'));
    const seen = [];
    for (let n = 0; n < 4; n += 1) seen.push((await client.response()).field('link'));
    expect(seen).toEqual(['</1>', undefined, '</2>', undefined]);
  });

  test('are not sent to HTTP/1.0 clients', async () => {
    const { port } = await setUp(script);
    const response = await rawRequest(port, 'GET / HTTP/1.0\r\nHost: a\r\n\r\n');
    expect([response.status, response.content.toString()]).toEqual([200, 'ok']);
  });

  test.each(['writeInformation', 'before'])('with an invalid value count against the backend: %s', async (way) => {
    const bad = answer(`HTTP/1.1 103 Early Hints\r\nLink: a\x01b\r\n\r\n${FINAL}`);
    const { port } = await setUp(bad, {}, (app) => {
      app.use((_req, res, next) => {
        if (way === 'before') Object.assign(res, { writeInformation: undefined });
        next();
      });
    });
    expect((await rawRequest(port, get())).status).toBe(502);
  });
});

describe('C13, R17: trailers', () => {
  const trailers =
    'X-Sum: 1\r\nX-Sum: 2\r\nHost: evil\r\nAuthorization: evil\r\nX-Forwarded-For: 6.6.6.6\r\nSet-Cookie: evil=1\r\n' +
    'X-Named: evil\r\nKeep-Alive: evil\r\nX-L: caf\xe9\r\n';
  const chunked = (content: string) =>
    answer(
      `HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nConnection: x-named\r\nTransfer-Encoding: chunked\r\n\r\n${content}0\r\n${trailers}\r\n`,
    );

  test.each([
    ['content', '2\r\nok\r\n'],
    ['no content', ''],
  ])(
    'of a response with %s are forwarded to clients with TE: trailers, without forbidden fields',
    async (_kind, content) => {
      const { port } = await setUp(chunked(content));
      const client = cleanup.add(await RawClient.connect(port));
      client.send(get('TE: gzip;q=0.5, trailers\r\n'));
      await client.until((bytes) => bytes.includes('caf\xe9\r\n\r\n', 0, 'latin1'));
      const answered = client.pending.toString('latin1');
      const end = answered.indexOf('\r\n\r\n');
      const [head, rest] = [answered.slice(0, end), answered.slice(end + 4)];
      expect(head).not.toMatch(/x-sum/i);
      expect(head).toMatch(/transfer-encoding: chunked/i);
      expect(rest.toLowerCase()).toBe(`${content}0\r\nx-sum: 1\r\nx-sum: 2\r\nx-l: caf\xe9\r\n\r\n`);
    },
  );

  test.each([
    ['a client that did not ask', get()],
    ['one that asks for others', get('TE: gzip, trailersx\r\n')],
    ['one of HTTP/1.0', 'GET / HTTP/1.0\r\nHost: a\r\nTE: trailers\r\n\r\n'],
  ])('are not sent to %s', async (_who, request) => {
    const { port } = await setUp(chunked('2\r\nok\r\n'));
    const response = await rawRequest(port, request);
    expect([response.content.toString(), response.framingComplete]).toEqual(['ok', true]);
    expect(response.fields.map(([name]) => name)).not.toContain('x-sum');
  });

  test('of a request are dropped, and not merged into the header', async () => {
    const seen: unknown[] = [];
    const { port, backend } = await setUp(answerOk, {}, (app) => {
      app.use((req, _res, next) => {
        req.on('end', () => seen.push(req.headers['x-sum'], req.headers['x-forwarded-for'], req.headers.host));
        next();
      });
    });
    const forbidden =
      'X-Sum: 1\r\nContent-Length: 9\r\nHost: evil\r\nX-Forwarded-For: 6.6.6.6\r\nAuthorization: evil\r\n';
    const client = cleanup.add(await RawClient.connect(port));
    client.send(
      `POST / HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n${forbidden.replace('Content-Length: 9\r\n', '')}\r\n`,
    );
    expect((await client.response()).status).toBe(200);
    await client.until(
      () =>
        backend.received[0]?.toString('latin1').endsWith('2\r\nok\r\n0\r\n\r\n') === true || client.pending.length > 0,
    );
    expect(backend.received[0]?.toString('latin1')).not.toMatch(/x-sum|evil|6\.6\.6\.6/i);
    expect(seen).toEqual([undefined, undefined, 'a']);
  });
});

const post = (fields: string) => `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n${fields}\r\n`;

const hardened = (app: RequestListener) => hardenServer(createServer(app));

/** A limiter before the proxy, on a hardened server. */
async function limited(limit: number, serverOf = hardened) {
  const limiter = cleanup.add(ipRateLimit({ limit, windowMs: 60_000 }));
  return setUp(answerOk, {}, (app) => void app.use(limiter), serverOf);
}

describe.each(PROTOCOLS)('C08, R10: Expect, over $name', ({ name, connect, request, ...protocol }) => {
  const isHttp1 = name === 'HTTP/1.1';
  const serverOf = isHttp1 ? hardened : protocol.serverOf;

  test('the client gets 100 when a backend accepts the content, and Expect is not forwarded', async () => {
    const { port, backend } = await limited(10, serverOf);
    const client = cleanup.add(await connect(port));
    for (let i = 0; i < 2; i += 1) {
      client.send(post('Expect: 100-Continue\r\n'));
      expect((await client.response()).status).toBe(100);
      client.send('hello');
      const response = await client.response();
      expect([response.status, response.field('connection')]).toEqual([200, isHttp1 ? 'keep-alive' : undefined]);
    }
    expect(backend.requests.map((request) => request.field('expect'))).toEqual([undefined, undefined]);
    expect(backend.received.join('').match(/\r\n\r\nhello/g)).toHaveLength(2);
  });

  test('a client that does not wait for 100 is served', async () => {
    const { port, backend } = await limited(10, serverOf);
    const client = cleanup.add(await connect(port));
    client.send(`${post('Expect: 100-continue\r\n')}hello`);
    const statuses = [(await client.response()).status];
    if (statuses[0] === 100) statuses.push((await client.response()).status);
    expect(statuses.at(-1)).toBe(200);
    expect(backend.received[0]?.toString('latin1')).toMatch(/\r\n\r\nhello$/);
  });

  test('the client gets no 100 when no backend is available', async () => {
    const { port, proxy, backend } = await limited(10, serverOf);
    proxy.setBackends(['http://127.0.0.1:1']);
    const client = cleanup.add(await connect(port));
    client.send(post('Expect: 100-continue\r\n'));
    expect((await client.response()).status).toBe(502);
    expect(backend.requests).toEqual([]);
  });

  test('a request without content gets no 100', async () => {
    const { port } = await limited(10, serverOf);
    const client = cleanup.add(await connect(port));
    client.send(get('Expect: 100-continue\r\n'));
    const response = await client.response();
    expect([response.status, response.content.toString()]).toEqual([200, 'ok']);
  });

  test.each(['200-ok', '100-continue, x', 'x=y'])('an unknown expectation is refused: %s', async (expectation) => {
    const { port, backend } = await limited(10, serverOf);
    const response = await request(port, post(`Expect: ${expectation}\r\n`), 'POST');
    expect([response.status, response.field('connection')]).toEqual([417, isHttp1 ? 'close' : undefined]);
    expect(backend.requests).toEqual([]);
  });
});

describe('C08, R10: Expect, over HTTP/1.x alone', () => {
  test.each(['', 'hello', 'GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n'])(
    'K3, K16: a refusal comes at once, without 100, and the bytes after it (%j) are no request',
    async (after) => {
      const { port, backend } = await limited(1);
      expect((await rawRequest(port, get())).status).toBe(200);
      const client = cleanup.add(await RawClient.connect(port));
      client.send(post('Expect: 100-continue\r\n') + after);
      const response = await client.response();
      expect([response.status, response.field('connection')]).toEqual([429, 'close']);
      await client.closed();
      expect([client.closedBy, client.pending.length]).toEqual(['FIN', 0]);
      expect(backend.requests).toHaveLength(1);
    },
  );

  test('R10: Expect of an HTTP/1.0 client is ignored', async () => {
    const { port, backend } = await limited(10);
    const response = await rawRequest(
      port,
      'POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok',
    );
    expect(response.status).toBe(200);
    expect(backend.requests[0]?.field('expect')).toBeUndefined();
  });

  test('an app with a checkContinue listener decides itself', async () => {
    const { port, server } = await limited(10);
    server.on('checkContinue', (_req, res) => res.writeHead(406).end());
    const client = cleanup.add(await RawClient.connect(port));
    client.send(post('Expect: 100-continue\r\n'));
    expect((await client.response()).status).toBe(406);
  });
});

describe.each(PROTOCOLS)('R42, A03: Forwarded, over $name', ({ name, serverOf, request }) => {
  const spoofed =
    'Forwarded: for=6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: evil\r\nX-Forwarded-Host: evil\r\n';
  const told = 'Forwarded: for=192.0.2.7;proto=https\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n';
  const proto = name === 'HTTP/1.1' ? 'http' : 'https';
  const OURS = `for=127.0.0.1;host=gw.example;proto=${proto}`;

  test.each([
    ['forwarded', undefined, 'replace', spoofed, [OURS], []],
    ['forwarded', undefined, 'append', spoofed, [OURS], []],
    ['both', undefined, 'replace', spoofed, [OURS], ['127.0.0.1']],
    ['x-forwarded', undefined, 'replace', spoofed, [], ['127.0.0.1']],
    ['forwarded', 'loopback', 'replace', told, ['for=192.0.2.7;host=gw.example;proto=https'], []],
    ['forwarded', 'loopback', 'append', told, [`for=192.0.2.7;proto=https, ${OURS}`], []],
    ['both', 'loopback', 'append', told, [`for=192.0.2.7;proto=https, ${OURS}`], ['192.0.2.7, 127.0.0.1']],
    ['forwarded', 'loopback', 'append', '', [OURS], []],
  ] as const)('%s, peer trusted: %s, %s', async (forwardingFields, trust, forwarded, sent, list, addresses) => {
    const { backend, port } = await setUp(
      answerOk,
      { forwardingFields, forwarded },
      (app) => {
        if (trust !== undefined) app.set('trust proxy', trust);
      },
      serverOf,
    );
    await request(port, get(`${sent}Connection: Forwarded\r\n`));
    const [seen] = backend.requests;
    expect([seen?.all('forwarded'), seen?.all('x-forwarded-for')]).toEqual([list, addresses]);
    expect(backend.received[0]?.toString('latin1')).not.toMatch(/6\.6\.6\.6|evil/);
    if (forwardingFields === 'forwarded') expect(seen?.fields.filter(([name]) => name.startsWith('x-'))).toEqual([]);
  });

  test('a host with a port is quoted', async () => {
    const { backend, port } = await setUp(answerOk, { forwardingFields: 'forwarded' }, undefined, serverOf);
    await request(port, 'GET / HTTP/1.1\r\nHost: gw.example:8080\r\n\r\n');
    expect(backend.requests[0]?.field('forwarded')).toBe(`for=127.0.0.1;host="gw.example:8080";proto=${proto}`);
  });
});

describe('B03, K1: a client cannot remove headers that the gateway adds', () => {
  test('a header of a middleware stays, and replaces that of the client', async () => {
    const { backend, port } = await setUp(answerOk, {}, (app) => {
      app.use((req, _res, next) => {
        req.headers['x-user'] = 'ada';
        req.headers['x-role'] = 'user';
        next();
      });
    });
    const named = 'Connection: X-User, X-Role, X-Own, X-Twice, Cookie, User-Agent, Authorization\r\n';
    await rawRequest(
      port,
      get(
        `${named}X-Role: admin\r\nX-Own: 1\r\nX-Twice: 1\r\nX-Twice: 2\r\nCookie: a=1\r\nCookie: b=2\r\n` +
          'User-Agent: x\r\nUser-Agent: y\r\nAuthorization: z\r\n',
      ),
    );
    const [seen] = backend.requests;
    expect([seen?.field('x-user'), seen?.all('x-role')]).toEqual(['ada', ['user']]);
    for (const name of ['x-own', 'x-twice', 'cookie', 'user-agent', 'authorization'])
      expect(seen?.field(name)).toBeUndefined();
  });
});

describe('C01, R18: versions', () => {
  test.each(['HTTP/1.0', 'HTTP/1.1'])('a response in %s is forwarded as HTTP/1.1', async (version) => {
    const { port, backend } = await setUp(
      (socket) => void socket.end(`${version} 200 OK\r\nContent-Length: 2\r\n\r\nok`),
    );
    for (const own of ['1.0', '1.1']) {
      const response = await rawRequest(port, `GET / HTTP/${own}\r\nHost: a\r\n\r\n`);
      expect([response.startLine, response.content.toString()]).toEqual(['HTTP/1.1 200 OK', 'ok']);
    }
    for (const { line } of backend.requests) expect(line).toBe('GET / HTTP/1.1');
  });
});

test.each(PROTOCOLS)(
  'R16: conditional headers are forwarded, and not evaluated, over $name',
  async ({ serverOf, request }) => {
    const { backend, port } = await setUp(
      answer('HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 2\r\n\r\nok'),
      {},
      undefined,
      serverOf,
    );
    const conditions =
      'If-None-Match: "x"\r\nIf-Modified-Since: Tue, 15 Nov 1994 08:12:31 GMT\r\nIf-Match: "y"\r\nRange: bytes=0-0\r\n';
    const response = await request(port, get(`${conditions}If-Range: "x"\r\nCache-Control: no-transform\r\n`));
    expect([response.status, response.field('etag'), response.content.toString()]).toEqual([200, '"x"', 'ok']);
    for (const name of ['if-none-match', 'if-modified-since', 'if-match', 'range', 'if-range', 'cache-control']) {
      expect(backend.requests[0]?.field(name)).toBeDefined();
    }
  },
);

test.each(PROTOCOLS)(
  'C06: HEAD, 204 and 304 keep only the framing fields that they may have, over $name',
  async ({ name, serverOf, connect }) => {
    const { port } = await setUp(
      (socket, { method, target }) => {
        if (method === 'HEAD' && target === '/chunked')
          socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
        else if (method === 'HEAD') socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n');
        else if (target === '/204') socket.write('HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n');
        else if (target === '/304') socket.write('HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n');
        else answerOk(socket, { field: () => undefined } as never, 0);
      },
      {},
      undefined,
      serverOf,
    );
    const client = cleanup.add(await connect(port));
    for (const [method, target, length] of [
      ['HEAD', '/', '1000'],
      ['HEAD', '/chunked', undefined],
      ['GET', '/204', undefined],
      ['GET', '/304', '77'],
    ] as const) {
      client.send(`${method} ${target} HTTP/1.1\r\nHost: a\r\n\r\n`);
      const response = await client.response(method);
      expect([target, response.field('content-length')]).toEqual([target, length]);
      expect(response.field('connection')).toBe(name === 'HTTP/1.1' ? 'keep-alive' : undefined);
      client.send(get());
      expect((await client.response()).content.toString()).toBe('ok');
    }
  },
);
