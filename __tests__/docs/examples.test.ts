import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { answer, fail, startBackend } from '../../lib/testing/index.ts';
import { certificate } from '../support/certificate.ts';
import { Cleanup } from '../support/gateway.ts';
import { Http2Client } from '../support/http2.ts';
import { Http2Backend, type OnStream, respondWithTrailers } from '../support/http2-backend.ts';
import { rawRequest } from '../support/raw-client.ts';
import { listen, eventually as within } from '../support/servers.ts';
import { backendsAt, runBlock, runExample } from './example.ts';
import { type Block, blocksOf } from './pages.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** Programs of their own take their time on a machine that is busy. */
const eventually = (what: string, condition: () => unknown) => within(what, condition, 20_000);

const backend = async (content: string, status = 200) =>
  cleanup.add(await startBackend({ otherwise: answer({ status, content }) }));

test('README.md: the first program is a gateway', async () => {
  const [one, two] = [await backend('one'), await backend('two')];
  const first = blocksOf('README.md').find(({ language }) => language === 'ts') as Block;
  const example = cleanup.add(runBlock(first, backendsAt(one.url, two.url)));
  const both = [await (await example.get('/')).text(), await (await example.get('/')).text()];
  expect(both.sort()).toEqual(['one', 'two']);
});

describe('docs/rate-limit.md', () => {
  test('a hundred requests pass, and the next one waits', async () => {
    const { url } = await backend('hello');
    const example = cleanup.add(runExample('rate-limit', backendsAt(url)));
    for (let i = 0; i < 100; i += 1) expect((await example.get('/')).status).toBe(200);
    const refused = await example.get('/');
    expect([refused.status, refused.headers.get('ratelimit')]).toEqual([429, expect.stringContaining('"ip";r=0')]);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
  });

  test('workers share a limit, and neither their other messages nor their end harm the primary', async () => {
    const example = cleanup.add(
      runExample('cluster', {
        'availableParallelism();': 'Math.min(2, availableParallelism());',
        'limit: 100': 'limit: 4',
        'app.listen(8080);': "app.get('/', (_req, res) => void res.end(String(process.pid))); app.listen(8080);",
        // The port that a worker tells is such another message.
        'const counter = limiterCounter();': `const counter = limiterCounter();
          let [listening, questions] = [0, 0];
          cluster.on('message', (worker, { asked, port, question }) => {
            if (asked !== undefined) listening += 1;
            if (asked !== undefined && listening === 2) process.send?.({ asked, port });
            if (question?.all.length > 0) questions += 1;
            if (questions === 3) worker.process.disconnect();
          });`,
      }),
    );
    const port = await example.port();
    const ask = async () => (await rawRequest(port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')).status;
    expect([await ask(), await ask()]).toEqual([200, 200]);
    // Its worker ends without an answer.
    await expect(ask()).rejects.toThrow('closed');
    expect([await ask(), await ask()]).toEqual([200, 429]);
  });

  test('express-rate-limit counts with our store', async () => {
    const example = cleanup.add(runExample('rate-limit-store'));
    const statuses: number[] = [];
    for (let i = 0; i < 7; i += 1) statuses.push((await example.get('/login')).status);
    expect(statuses).toEqual([200, 200, 200, 200, 200, 429, 429]);
  });
});

test('docs/circuit-breaker.md: five failures open the circuit', async () => {
  const reports = cleanup.add(await startBackend({ otherwise: fail(500) }));
  const example = cleanup.add(runExample('circuit-breaker', backendsAt(reports.url)));
  for (let i = 0; i < 5; i += 1) expect((await example.get('/reports')).status).toBe(500);
  const refused = await example.get('/reports');
  expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, expect.stringMatching(/^\d+$/)]);
  expect(await (await example.get('/state')).json()).toMatchObject({ circuit: 'open' });
  expect(reports.requests).toHaveLength(5);
});

test('docs/proxy.md: two backends in turn, and one alone when the other is down', async () => {
  const [one, two] = [await backend('one'), await backend('two')];
  const example = cleanup.add(runExample('proxy', backendsAt(one.url, two.url)));
  const both = [await (await example.get('/')).text(), await (await example.get('/')).text()];
  expect(both.sort()).toEqual(['one', 'two']);
  const rows = (await (await example.get('/gateway/backends')).json()) as { backend: string }[];
  expect(rows.map((row) => row.backend)).toEqual([one.url, two.url]);
  await two.refuse();
  for (let i = 0; i < 4; i += 1) expect(await (await example.get('/')).text()).toBe('one');
});

test('docs/request-guard.md: an ambiguous path is refused', async () => {
  const example = cleanup.add(runExample('request-guard'));
  expect(await (await example.get('/a/b')).text()).toBe('one reading: /a/b');
  expect((await example.get('/a%5Cb')).status).toBe(400);
  expect(await (await example.get('/%61//b')).text()).toBe('one reading: /a/b');
});

test('docs/overload.md: a gateway with time to spare serves every request', async () => {
  const example = cleanup.add(runExample('overload'));
  expect(await (await example.get('/checkout/1')).text()).toBe('served: /checkout/1');
});

test('docs/harden-server.md: a head that is too large is refused, with an event', async () => {
  const example = cleanup.add(runExample('harden-server'));
  expect(await (await example.get('/')).text()).toBe('hello');
  // One long field: Node 22 does not count what is between names and values.
  const fields = `Host: a.example\r\nX-Long: ${'x'.repeat(20_000)}`;
  const { status } = await rawRequest(await example.port(), `GET / HTTP/1.1\r\n${fields}\r\n\r\n`);
  expect(status).toBe(431);
  await eventually('it is told of', () => example.output.includes('refused 127.0.0.1: head_too_large'));
});

test('docs/http2.md: one port for HTTP/2 and HTTP/1.1', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'expressway-http2-'));
  cleanup.add({ close: () => rmSync(folder, { recursive: true }) });
  for (const [name, pem] of Object.entries(certificate)) writeFileSync(join(folder, `${name}.pem`), pem);
  const files = { 'key.pem': join(folder, 'key.pem'), 'cert.pem': join(folder, 'cert.pem') };
  const example = cleanup.add(runExample('http2', files));
  const port = await example.port(8443);
  const client = cleanup.add(new Http2Client(port));
  expect(JSON.parse((await client.request()).content.toString())).toEqual({ ip: '127.0.0.1', secure: true });
});

test('docs/grpc.md: calls over HTTP/2 on both sides, and health checks', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'expressway-grpc-'));
  cleanup.add({ close: () => rmSync(folder, { recursive: true }) });
  for (const [name, pem] of Object.entries(certificate)) writeFileSync(join(folder, `${name}.pem`), pem);
  const checks: unknown[] = [];
  const call: OnStream = (stream, { ':path': path, ':method': method }) => {
    if (path === '/test.Test/Say') respondWithTrailers(stream, 'said');
    else checks.push([method, path]);
  };
  const [one, two] = [cleanup.add(await Http2Backend.start(call)), cleanup.add(await Http2Backend.start(call))];
  const example = cleanup.add(
    runExample('grpc', {
      'key.pem': join(folder, 'key.pem'),
      'cert.pem': join(folder, 'cert.pem'),
      'http://localhost:50051': one.url,
      'http://localhost:50052': two.url,
    }),
  );
  const client = cleanup.add(new Http2Client(await example.port(8443)));
  const head = { ':method': 'POST', ':path': '/test.Test/Say', 'content-type': 'application/grpc', te: 'trailers' };
  const { content, trailers } = await client.request(head, 'a message');
  expect([String(content), trailers?.['grpc-status']]).toEqual(['said', '0']);
  await eventually('a health check', () => checks.length > 0);
  expect(checks[0]).toEqual(['POST', '/grpc.health.v1.Health/Check']);
});

test('docs/observability.md: metrics on a listener of their own, and a line for each request', async () => {
  const { url } = await backend('hello');
  const example = cleanup.add(runExample('observability', backendsAt(url)));
  await (await example.get('/orders')).text();
  const counted = /expressway_requests_total\{[^}]*status="2xx"[^}]*\} 1/;
  await eventually('it is counted', async () =>
    counted.test(await (await example.get('/metrics', {}, 'GET', 9090)).text()),
  );
  await eventually('there is a line', () => example.output.includes('"/orders"'));
});

describe('docs/lifecycle.md', () => {
  test('SIGTERM: a running request ends, then the process with 0', async () => {
    const held: (() => void)[] = [];
    const slow = cleanup.add(await listen((_req, res) => void held.push(() => res.end('whole'))));
    const example = cleanup.add(runExample('lifecycle', backendsAt(slow.url)));
    expect((await example.get('/readyz')).status).toBe(200);
    const running = example.get('/slow');
    await eventually('the request runs', () => held.length > 0);
    const stopped = example.stop('SIGTERM');
    await eventually('it drains', () => example.output.includes('draining'));
    for (const release of held) release();
    expect(await (await running).text()).toBe('whole');
    expect(await stopped).toBe(0);
    expect(example.output.trim().split('\n')).toEqual(['draining', 'closing', 'closed']);
  });

  test('two servers shut down on one signal', async () => {
    const example = cleanup.add(runExample('lifecycle-two'));
    const answers = await Promise.all([example.get('/'), example.get('/', {}, 'GET', 8443)]);
    expect(await Promise.all(answers.map((one) => one.text()))).toEqual(['one', 'two']);
    expect(await example.stop('SIGTERM')).toBe(0);
  });
});
