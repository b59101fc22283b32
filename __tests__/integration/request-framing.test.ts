import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { ClientRefusedEvent, HardenServerOptions, RoundRobinProxyOptions } from 'expressway';
import { GatewayEvents } from 'expressway';
import { Cleanup, proxyGateway } from '../support/gateway.ts';
import { PROTOCOLS, type Protocol, type TextClient } from '../support/protocols.ts';
import { RawClient, rawRequest } from '../support/raw-client.ts';
import { RecorderBackend } from '../support/recorder-backend.ts';
import { eventually } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

let backend: RecorderBackend;
beforeEach(async () => {
  backend = cleanup.add(await RecorderBackend.start());
});

const HTTP_1 = PROTOCOLS[0] as Protocol;

const hardened = async (
  options: Partial<RoundRobinProxyOptions> = {},
  bounds: HardenServerOptions = {},
  protocol = HTTP_1,
) => cleanup.add(await proxyGateway({ backends: [backend.url], ...options }, undefined, protocol.hardened(bounds)));

const H = 'Host: gw.example\r\n';
const SMUGGLED = 'GET /smuggled HTTP/1.1\r\nHost: gw.example\r\n\r\n';
const chunked = (body: string, fields = '') =>
  `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n${fields}\r\n${body}`;
const post = (fields: string, body = 'hello') => `POST / HTTP/1.1\r\n${H}${fields}\r\n${body}`;
const get = (target: string, fields = '') => `GET ${target} HTTP/1.1\r\n${H}${fields}\r\n`;
const fields = (count: number) => Array.from({ length: count }, (_, i) => `X-${i}: 1\r\n`).join('');

/** An innocent request on a connection of its own gets its own answer, and nothing else has arrived. */
async function innocent(port: number, arrivedBefore = 0, { request } = HTTP_1): Promise<void> {
  const nonce = `n${Math.random()}`;
  const response = await request(port, get('/innocent', `X-Nonce: ${nonce}\r\n`));
  expect([response.status, response.content.toString(), response.field('x-nonce')]).toEqual([200, nonce, nonce]);
  expect(backend.requests).toHaveLength(arrivedBefore + 1);
  for (const request of backend.requests) {
    expect(request.target).not.toContain('smuggled');
    expect(request.all('host')).toHaveLength(1);
    expect(request.all('content-length').length + request.all('transfer-encoding').length).toBeLessThanOrEqual(1);
  }
}

/** The answer is one that explains itself, the connection ends in order, and no backend hears of it. */
async function refused(port: number, bytes: string, status: number): Promise<Record<string, unknown>> {
  const client = cleanup.add(await RawClient.connect(port));
  client.send(bytes + SMUGGLED);
  let response = await client.response();
  while (response.status === 100) response = await client.response();
  const problem = JSON.parse(response.content.toString());
  expect([response.status, response.framingComplete, response.field('connection')]).toEqual([status, true, 'close']);
  expect(response.field('content-type')).toBe('application/problem+json');
  expect(problem).toMatchObject({ status, cause: expect.any(String) });
  client.socket.end();
  await client.closed();
  expect([client.closedBy, client.pending.length]).toEqual(['FIN', 0]);
  expect(backend.requests.filter(({ target }) => target === '/smuggled')).toEqual([]);
  return problem;
}

/** Bad whoever reads it: whether Node's parser says so, or the checks. */
const ATTACKS: readonly (readonly [string, string, number])[] = [
  ['S01 CL and TE', post('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'), 400],
  ['S02 TE and CL', post('Transfer-Encoding: chunked\r\nContent-Length: 5\r\n', '0\r\n\r\n'), 400],
  ['S03 CL twice', post('Content-Length: 5\r\nContent-Length: 5\r\n'), 400],
  ['S03 two CL', post('Content-Length: 5\r\nContent-Length: 6\r\n'), 400],
  ['S03 CL as a list', post('Content-Length: 5, 5\r\n'), 400],
  ['S03 CL with a sign', post('Content-Length: +5\r\n'), 400],
  ['S03 CL with a space', post('Content-Length: 5 5\r\n'), 400],
  ['S03 an empty CL', post('Content-Length:\r\n'), 400],
  ['S03 CL over 64 bits', post('Content-Length: 99999999999999999999\r\n'), 400],
  ['S03 CL over what can be counted', post('Content-Length: 18446744073709551615\r\n'), 413],
  ['S04 chunked is not last', post('Transfer-Encoding: chunked, gzip\r\n', '0\r\n\r\n'), 400],
  ['S04 chunked twice', post('Transfer-Encoding: chunked, chunked\r\n', '0\r\n\r\n'), 400],
  ['S04 chunked on two lines', post('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'), 400],
  ['S05 TE with a prefix', post('Transfer-Encoding: xchunked\r\n', '0\r\n\r\n'), 400],
  ['S05 TE with a parameter', post('Transfer-Encoding: chunked;q=1\r\n', '0\r\n\r\n'), 400],
  ['S05 TE behind a vertical tab', post('Transfer-Encoding: \x0bchunked\r\n', '0\r\n\r\n'), 400],
  ['S05 an empty TE', post('Transfer-Encoding:\r\n', ''), 400],
  ['S06 an unknown TE before chunked', post('Transfer-Encoding: gzip, chunked\r\n', '0\r\n\r\n'), 501],
  ['S06 identity', post('Transfer-Encoding: identity\r\n', ''), 400],
  ['S07 TE in HTTP/1.0', `POST / HTTP/1.0\r\n${H}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
  ['S08 a chunk size that overflows', chunked('10000000000000003\r\nabc\r\n0\r\n\r\n'), 400],
  ['S08 a hexadecimal prefix', chunked('0x3\r\nabc\r\n0\r\n\r\n'), 400],
  ['S08 a negative chunk size', chunked('-3\r\nabc\r\n0\r\n\r\n'), 400],
  ['S08 a space behind a chunk size', chunked('3 \r\nabc\r\n0\r\n\r\n'), 400],
  ['S08 a chunk longer than it says', chunked('3\r\nabcXX0\r\n\r\n'), 400],
  ['S08 lines of chunks that end in LF', chunked('3\nabc\n0\n\n'), 400],
  ['S09 a space before the colon', get('/', 'X-A : 1\r\n'), 400],
  ['S09 no colon', get('/', 'foo\r\n'), 400],
  ['S09 an empty name', get('/', ': x\r\n'), 400],
  ['S10 obs-fold', get('/', 'X-A: 1\r\n 2\r\n'), 400],
  ['S10 a fold before all fields', `GET / HTTP/1.1\r\n X: 1\r\n${H}\r\n`, 400],
  ['S11 LF alone', `GET / HTTP/1.1\r\n${H}X: 1\nY: 2\r\n\r\n`, 400],
  ['S11 LF everywhere', 'GET / HTTP/1.1\nHost: gw.example\n\n', 400],
  ['S13 Host twice', `GET / HTTP/1.1\r\n${H}hOST: evil.example\r\n\r\n`, 400],
  ['S13 the same Host twice', `GET / HTTP/1.1\r\n${H}${H}\r\n`, 400],
  ['S14 an empty Host', 'GET / HTTP/1.1\r\nHost:\r\n\r\n', 400],
  ['S14 Host with a path', 'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n', 400],
  ['S14 Host with a user', 'GET / HTTP/1.1\r\nHost: u@a\r\n\r\n', 400],
  ['S14 Host with a space', 'GET / HTTP/1.1\r\nHost: a b\r\n\r\n', 400],
  ['S14 Host with a comma', 'GET / HTTP/1.1\r\nHost: a,b\r\n\r\n', 400],
  ['S14 Host with a bad port', 'GET / HTTP/1.1\r\nHost: a:b\r\n\r\n', 400],
  ['S14 Host with port 0', 'GET / HTTP/1.1\r\nHost: a:0\r\n\r\n', 400],
  ['S14 Host with port 00000', 'GET / HTTP/1.1\r\nHost: a:00000\r\n\r\n', 400],
  ['S14 Host with port 65536', 'GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n', 400],
  ['S14 Host with port 99999', 'GET / HTTP/1.1\r\nHost: [::1]:99999\r\n\r\n', 400],
  ['S14 port 0 in the target', 'GET http://a:0/ HTTP/1.1\r\nHost: a\r\n\r\n', 400],
  ['S14 port 65536 in the target', 'GET http://a:65536/ HTTP/1.1\r\nHost: a\r\n\r\n', 400],
  ['S14 Host with an empty label', 'GET / HTTP/1.1\r\nHost: a..b\r\n\r\n', 400],
  ['S14 Host with two dots at its end', 'GET / HTTP/1.1\r\nHost: a..\r\n\r\n', 400],
  ['S14 an open bracket', 'GET / HTTP/1.1\r\nHost: [::1\r\n\r\n', 400],
  ['S16 a flood of chunk extensions', chunked(`3;${'a'.repeat(20_000)}\r\nabc\r\n0\r\n\r\n`), 413],
  ['S16 many chunks with long extensions', chunked(`${`1;${'a'.repeat(5_000)}\r\nx\r\n`.repeat(60)}0\r\n\r\n`), 413],
  ['S16 many chunks with short extensions', chunked(`${`1;${'a'.repeat(20)}\r\nx\r\n`.repeat(20_000)}0\r\n\r\n`), 413],
  ['S16 chunk sizes with many zeros', chunked(`${`${'0'.repeat(2_000)}1\r\nx\r\n`.repeat(150)}0\r\n\r\n`), 413],
  ['S16 a chunk extension that ends in LF', chunked('3;a\nabc\r\n0\r\n\r\n'), 400],
  ['S17 CR alone', get('/', 'X: 1\rY: 2\r\n'), 400],
  ['S18 NUL', get('/', 'X: 1\0 2\r\n'), 400],
  ['S18 control characters', get('/', 'X: 1\x01 2\x7f\r\n'), 400],
  ['S19 an unknown expectation', post('Expect: 200-maybe\r\nContent-Length: 5\r\n'), 417],
  ['S19 expectations on two lines', post('Expect: 100-continue\r\nExpect: x\r\nContent-Length: 5\r\n'), 417],
  ['S21 HTTP/2.0 in the clear', `GET / HTTP/2.0\r\n${H}\r\n`, 505],
  ['S21 HTTP/1.2', `GET / HTTP/1.2\r\n${H}\r\n`, 505],
  ['S21 HTTP/1.00', `GET / HTTP/1.00\r\n${H}\r\n`, 505],
  ['S21 HTTP/1.11', `GET / HTTP/1.11\r\n${H}\r\n`, 505],
  ['S21 HTTP/2', `GET / HTTP/2\r\n${H}\r\n`, 505],
  ['S21 HTTP/11.1', `GET / HTTP/11.1\r\n${H}\r\n`, 505],
  ['S21 HTTP/3.0', `GET / HTTP/3.0\r\n${H}\r\n`, 505],
  ['S21 no version', 'GET /\r\n\r\n', 400],
  ['S21 no version behind a space', 'GET / \r\n\r\n', 400],
  ['S21 no number behind HTTP/', `GET / HTTP/\r\n${H}\r\n`, 400],
  ['S21 a TLS greeting', '\x16\x03\x01\x02\x00\x01\x00\x01', 400],
  ['S22 101 fields', get('/', fields(100)), 431],
  ['S22 2,100 fields', get('/', fields(2_100)), 431],
  ['G04 17 KiB of one field', get('/', `X: ${'a'.repeat(17_000)}\r\n`), 431],
  ['G04 17 KiB of fields', get('/', `X: ${'a'.repeat(8_600)}\r\nY: ${'a'.repeat(8_600)}\r\n`), 431],
  ['G04 9 KiB of target', get(`/${'a'.repeat(9_000)}`), 414],
  ['G04 100 KiB of target', get(`/${'a'.repeat(100_000)}`), 414],
  ['G04 a method of 300 bytes', `${'G'.repeat(300)} / HTTP/1.1\r\n${H}\r\n`, 501],
  ['C02 an unknown method', `FOO / HTTP/1.1\r\n${H}\r\n`, 501],
  ['CONNECT', `CONNECT evil.example:80 HTTP/1.1\r\n${H}\r\n`, 405],
];

const UNAMBIGUOUS: readonly (readonly [string, string])[] = [
  ['a leading empty line', `\r\n${get('/', '')}`],
  ['S03 leading zeros', post('Content-Length: 005\r\n')],
  ['S05 a tab before chunked', post('Transfer-Encoding:\tchunked \r\n', '5\r\nhello\r\n0\r\n\r\n')],
  ['S08 a chunk size with leading zeros', chunked('0005\r\nhello\r\n000\r\n\r\n')],
  ['S16 a chunk extension', chunked('5;a=b\r\nhello\r\n0\r\n\r\n')],
  ['S16 many small chunks', chunked(`${'00000001\r\nx\r\n'.repeat(5_000)}0\r\nX-Sum: 1\r\n\r\n`)],
  ['S16 some chunk extensions', chunked(`${`1;${'a'.repeat(1_000)}\r\nx\r\n`.repeat(10)}0\r\n\r\n`)],
  ['S14 Host with port 65535', 'GET / HTTP/1.1\r\nHost: a:65535\r\n\r\n'],
  ['S14 Host with port 00080', 'GET / HTTP/1.1\r\nHost: a:00080\r\n\r\n'],
  ['S14 Host with an empty port', 'GET / HTTP/1.1\r\nHost: a:\r\n\r\n'],
  ['S14 an IPv6 address as Host', 'GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n'],
  ['S22 100 fields', get('/', fields(99))],
  ['G04 8 KiB of target', get(`/${'a'.repeat(8_191)}`)],
  ['G04 15 KiB of cookies', get('/', `Cookie: a=${'a'.repeat(15_000)}\r\n`)],
  ['an underscore beside the framing', post('Transfer_Encoding: chunked\r\nContent-Length: 5\r\n')],
];

describe('a hardened server', () => {
  test.each(ATTACKS)('%s: is refused, and other clients are not affected', async (_name, bytes, status) => {
    const { port } = await hardened();
    await refused(port, bytes, status);
    const arrived = backend.requests.length;
    // A backend may have been asked before the content turned out to be bad: it is never asked to believe it.
    for (const bytes of backend.received) expect(bytes.toString('latin1')).not.toMatch(/\r\n0\r\n\r\n$/);
    await innocent(port, arrived);
  });

  test.each(UNAMBIGUOUS)('%s: is unambiguous and forwarded, and the connection is kept', async (_name, bytes) => {
    // It cannot tell where chunked content ends, so each request comes on a connection of its own.
    backend.script = (socket, request) => {
      const nonce = request.field('x-nonce') ?? '';
      const head = `HTTP/1.1 200 OK\r\nConnection: close\r\nX-Nonce: ${nonce}\r\nContent-Length: ${nonce.length}`;
      socket.end(`${head}\r\n\r\n${nonce}`);
    };
    const { port } = await hardened();
    const client = cleanup.add(await RawClient.connect(port));
    client.send(bytes + get('/next', 'X-Nonce: next\r\n'));
    expect((await client.response()).status).toBe(200);
    expect((await client.response()).content.toString()).toBe('next');
    expect(backend.requests.map(({ target }) => target)).toContain('/next');
    await innocent(port, 2);
  });

  test('S12: Node itself refuses a request without Host', async () => {
    const { port } = await hardened();
    const client = cleanup.add(await RawClient.connect(port));
    client.send(`GET / HTTP/1.1\r\n\r\n${SMUGGLED}`);
    const response = await client.response();
    expect([response.status, response.field('connection')]).toEqual([400, 'close']);
    await innocent(port);
  });

  test('S20: bytes after a request with Connection: close are not read; its response is complete', async () => {
    const { port } = await hardened();
    const client = cleanup.add(await RawClient.connect(port));
    client.send(get('/', 'Connection: close\r\nX-Nonce: first\r\n') + SMUGGLED);
    const response = await client.response();
    expect([response.status, response.content.toString()]).toEqual([200, 'first']);
    client.socket.end();
    await client.closed();
    expect([client.closedBy, client.pending.length]).toEqual(['FIN', 0]);
    await innocent(port, 1);
  });

  test('requests before the invalid bytes get their responses, in order', async () => {
    const { port } = await hardened();
    const client = cleanup.add(await RawClient.connect(port));
    client.send(`${get('/', 'X-Nonce: 1\r\n')}${get('/', 'X-Nonce: 2\r\n')}\0\0\r\n\r\n${SMUGGLED}`);
    expect((await client.response()).content.toString()).toBe('1');
    expect((await client.response()).content.toString()).toBe('2');
    expect((await client.response()).status).toBe(400);
    client.socket.end();
    await client.closed();
    expect([client.closedBy, client.pending.length]).toEqual(['FIN', 0]);
    await innocent(port, 2);
  });

  test('HTTP/2 with prior knowledge gets a response that names the reason', async () => {
    const { port } = await hardened();
    const response = await rawRequest(port, 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    expect([response.status, JSON.parse(response.content.toString()).detail]).toEqual([
      505,
      expect.stringMatching(/HTTP\/2 without TLS.*This port speaks HTTP\/1\.1/),
    ]);
  });

  test('an event names the refused client and the reason', async () => {
    const events = new GatewayEvents();
    const told: ClientRefusedEvent[] = [];
    events.on('clientRefused', (event) => told.push(event));
    const { port } = await hardened({}, { events });
    await refused(port, get('/', 'X : 1\r\n'), 400);
    expect(told).toMatchObject([{ cause: 'bad_request', address: '127.0.0.1', status: 400 }]);
  });
});

/** Requests of which HTTP/2 has the like, and that Node's client sends. http2-attacks.test.ts has the others, as frames. */
const HAS_HTTP_2 = /^(?:S14 (?!port|an? empty Host)|S19 an|S22|G04|C02)/;

describe('a hardened server, over HTTP/2', () => {
  const HTTP_2 = PROTOCOLS[1] as Protocol;

  test.each(ATTACKS.filter(([name]) => HAS_HTTP_2.test(name)))(
    '%s: is refused, and other streams are not affected',
    async (_name, bytes, status) => {
      const { port } = await hardened({}, {}, HTTP_2);
      const client: TextClient = cleanup.add(await HTTP_2.connect(port));
      client.send(bytes);
      const response = await client.response();
      // nghttp2 resets the streams of some.
      expect([status, 0]).toContain(response.status);
      if (response.status !== 0) expect(JSON.parse(response.content.toString())).toMatchObject({ status });
      client.send(get('/next', 'X-Nonce: next\r\n'));
      expect((await client.response()).content.toString()).toBe('next');
      await innocent(port, 1, HTTP_2);
    },
  );

  test.each(UNAMBIGUOUS.filter(([name]) => HAS_HTTP_2.test(name)))(
    '%s: is unambiguous and forwarded',
    async (_name, bytes) => {
      const { port } = await hardened({}, {}, HTTP_2);
      expect((await HTTP_2.request(port, bytes)).status).toBe(200);
      await innocent(port, 1, HTTP_2);
    },
  );
});

describe('a plain server', () => {
  const OURS = ATTACKS.filter(([name]) =>
    /Host (?:twice|with)|same Host|empty Host|before chunked|S07|counted|two lines$|2\.0|no version$|port|open bracket/.test(
      name,
    ),
  );
  test.each(OURS)('%s: the proxy rejects it, although Node accepts it', async (name, bytes, status) => {
    if (name.startsWith('S04')) return;
    const { port } = cleanup.add(await proxyGateway({ backends: [backend.url] }));
    await refused(port, bytes, status);
    await innocent(port);
  });

  test('K23: a request with more header fields than Node reads is refused', async () => {
    const { port, server } = cleanup.add(await proxyGateway({ backends: [backend.url] }));
    server.maxHeadersCount = 10;
    expect((await rawRequest(port, get('/', fields(9)))).status).toBe(431);
    expect((await rawRequest(port, get('/', fields(8)))).status).toBe(200);
    await eventually('only one arrives', () => backend.requests.length === 1);
  });

  test('K23: Node itself reads no more than 1,000 fields, and a request that has as many is refused', async () => {
    const { port } = cleanup.add(await proxyGateway({ backends: [backend.url] }));
    // With Host.
    expect((await rawRequest(port, get('/', fields(999)))).status).toBe(431);
    expect((await rawRequest(port, get('/', fields(998)))).status).toBe(200);
  });
});
