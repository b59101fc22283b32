import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { connect, type Socket } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterEach, describe, expect, test } from '@jest/globals';
import express from 'express';
import {
  GatewayEvents,
  type MirroredEvent,
  type MirrorOptions,
  prometheusMetrics,
  type ServiceRouterOptions,
  serviceRouter,
  upgradeHandler,
} from '../../lib/index.ts';
import { eventually } from '../../lib/testing/index.ts';
import { certificate } from '../support/certificate.ts';
import { Cleanup } from '../support/gateway.ts';
import { afterRead } from '../support/pause.ts';
import { answerOk, RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { listen } from '../support/servers.ts';
import { TcpRelay } from '../support/tcp-relay.ts';
import { rawSilence, rawTunnel } from '../support/tunnels.ts';
import { expectWarnings } from '../support/warnings.ts';

expectWarnings('WARN_EXPRESSWAY_TRUST_PROXY', 'ERR_EXPRESSWAY_BODY_ALREADY_READ');

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** Waits until an expectation holds. */
const becomes = (expectation: () => void): Promise<void> =>
  eventually('the expectation holds', () => {
    expectation();
    return true;
  });

interface Seen {
  readonly method: string | undefined;
  readonly url: string | undefined;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

/** A backend that keeps what it got. */
async function backend(listener: RequestListener = (_req, res) => void res.end('ok')) {
  const seen: Seen[] = [];
  const server = cleanup.add(
    await listen(async (req, res) => {
      const chunks: Buffer[] = [];
      try {
        for await (const chunk of req) chunks.push(chunk);
      } catch {
        return;
      }
      seen.push({ method: req.method, url: req.url, headers: req.headers, body: Buffer.concat(chunks).toString() });
      listener(req, res);
    }),
  );
  return { url: server.url, port: server.port, seen };
}

type Options = Partial<ServiceRouterOptions> & { mirror?: Partial<MirrorOptions>; before?: express.RequestHandler };

/** A gateway whose route sends requests to `live`, and copies to `next`. */
async function gateway(live: { url: string }, next: { url: string }, { mirror, before, ...more }: Options = {}) {
  const events = new GatewayEvents();
  const told: MirroredEvent[] = [];
  events.on('mirrored', (event) => told.push(event));
  const router = cleanup.add(
    serviceRouter({
      services: { live: { backends: [live.url] }, next: { backends: [next.url] } },
      routes: [{ service: 'live', mirror: { service: 'next', ...mirror } }],
      events,
      ...more,
    }),
  );
  const app = express();
  if (before !== undefined) app.use(before);
  const server = cleanup.add(await listen(app.use(router)));
  server.server.on('upgrade', upgradeHandler(app));
  const results = () => told.map(({ result }) => result);
  return { url: server.url, port: server.port, router, events, told, results };
}

/** A request that is at its backend, with the first half of its body. */
async function halfUpload({ router, port }: Awaited<ReturnType<typeof gateway>>, path: string): Promise<Socket> {
  const inFlight = () => router.services.get('live')?.load().inFlight ?? 0;
  const before = inFlight();
  const socket = connect(port, '127.0.0.1').resume();
  cleanup.add({ close: () => void socket.destroy() });
  socket.write(`POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhalf`);
  await becomes(() => expect(inFlight()).toBe(before + 1));
  return socket;
}

describe('a route that mirrors', () => {
  test('sends a copy of the request as it is forwarded, with a mark, and drops the response', async () => {
    const live = await backend((_req, res) => void res.end('live'));
    const next = await backend((_req, res) => void res.writeHead(500, { 'Set-Cookie': 'a=b' }).end('next'));
    const gw = await gateway(live, next, {
      services: {
        live: { backends: [live.url], requestHeaders: { set: { 'x-secret': 'of the live service' } } },
        next: { backends: [next.url], requestHeaders: { set: { 'x-next': '{route} at {service}' } }, maxRequests: 1 },
      },
      routes: [
        {
          name: 'users',
          path: '/users',
          service: 'live',
          rewrite: { prefix: '/' },
          requestHeaders: { set: { 'x-route': 'to {service}' } },
          mirror: { service: 'next' },
        },
      ],
    });
    const response = await fetch(`${gw.url}/users/1?a=b`, {
      method: 'POST',
      headers: { 'Content-Encoding': 'x-own', 'X-Mirrored': 'true', 'X-Own': 'o', Host: 'api.example' },
      body: 'the body',
    });
    expect([response.status, await response.text(), response.headers.get('set-cookie')]).toEqual([200, 'live', null]);
    await becomes(() => expect(gw.results()).toEqual(['sent']));
    const [original, copy] = [live.seen[0] as Seen, next.seen[0] as Seen];
    expect(copy).toMatchObject({ method: 'POST', url: '/1?a=b', body: 'the body' });
    expect(original.headers['x-route']).toBe('to live');
    const { via, 'x-secret': secret, ...rest } = original.headers;
    expect([via, secret]).toEqual([expect.any(String), 'of the live service']);
    expect(copy.headers).toEqual({
      ...rest,
      via: expect.any(String),
      'x-mirrored': 'true',
      'x-next': 'users at next',
      'content-length': '8',
    });
    expect(copy.headers['x-forwarded-prefix']).toBe('/users');
    expect(gw.told[0]).toMatchObject({ service: 'next', backend: next.url, result: 'sent', error: undefined });
    expect(gw.router.services.get('next')?.status()[0]).toMatchObject({ circuit: 'closed', inFlight: 0 });
  });

  test('a client cannot remove the mark', async () => {
    const [live, next] = [await backend(), await backend()];
    const gw = await gateway(live, next);
    const socket = connect(gw.port, '127.0.0.1');
    socket.write('GET / HTTP/1.1\r\nHost: x\r\nX-Mirrored: true\r\nConnection: close, x-mirrored\r\n\r\n');
    socket.resume();
    await becomes(() => expect(gw.results()).toEqual(['sent']));
    expect([live.seen[0]?.headers['x-mirrored'], next.seen[0]?.headers['x-mirrored']]).toEqual([undefined, 'true']);
  });

  test('a body in chunks is copied whole; one over the limit is not, and reaches its own service', async () => {
    const [live, next] = [await backend(), await backend()];
    const gw = await gateway(live, next, { mirror: { maxBodyBytes: 100_000 } });
    const post = (body: string) =>
      fetch(gw.url, { method: 'POST', body: new Blob([body]).stream(), duplex: 'half' } as RequestInit);
    const short = 'a'.repeat(100_000);
    expect((await post(short)).status).toBe(200);
    await becomes(() => expect(gw.results()).toEqual(['sent']));
    expect(next.seen[0]?.body).toBe(short);
    expect(next.seen[0]?.headers).toMatchObject({ 'content-length': '100000' });
    expect(next.seen[0]?.headers).not.toHaveProperty('transfer-encoding');
    const long = 'b'.repeat(1_000_000);
    expect((await post(long)).status).toBe(200);
    expect((await fetch(gw.url, { method: 'POST', body: long })).status).toBe(200);
    expect((await post(`${short}c`)).status).toBe(200);
    expect(live.seen.map(({ body }) => body.length)).toEqual([100_000, 1_000_000, 1_000_000, 100_001]);
    expect(gw.results()).toEqual(['sent', 'body_too_large', 'body_too_large', 'body_too_large']);
    expect(next.seen).toHaveLength(1);
  });

  test('no request waits for a copy, or fails by it: a mirror that hangs gets maxInFlight copies', async () => {
    const hanging: ServerResponse[] = [];
    const [live, next] = [await backend(), await backend((_req, res) => void hanging.push(res))];
    const gw = await gateway(live, next, { mirror: { maxInFlight: 2 } });
    for (let request = 0; request < 5; request += 1) {
      expect((await fetch(gw.url, { method: 'POST', body: 'x' })).status).toBe(200);
    }
    expect(gw.results()).toEqual(['too_many', 'too_many', 'too_many']);
    await becomes(() => expect(hanging).toHaveLength(2));
    for (const res of hanging) res.end();
    await becomes(() => expect(gw.results().filter((one) => one === 'sent')).toHaveLength(2));
    expect((await fetch(gw.url)).status).toBe(200);
    await becomes(() => expect(hanging).toHaveLength(3));
  });

  test('uploads that do not end take no place: other requests are copied, and the upload that waits longest makes room', async () => {
    const [live, next] = [await backend(), await backend()];
    const gw = await gateway(live, next, { mirror: { maxInFlight: 2 } });
    const [first, second] = [await halfUpload(gw, '/1'), await halfUpload(gw, '/2')];
    expect((await fetch(`${gw.url}/get`)).status).toBe(200);
    await becomes(() => expect(gw.results()).toEqual(['sent']));
    expect((await fetch(`${gw.url}/put`, { method: 'PUT', body: 'x' })).status).toBe(200);
    await becomes(() => expect(gw.results()).toEqual(['sent', 'too_many', 'sent']));
    first.write('done');
    second.write('done');
    await becomes(() => expect(live.seen.map(({ url }) => url)).toEqual(['/get', '/put', '/1', '/2']));
    await becomes(() => expect(next.seen.map(({ url }) => url)).toEqual(['/get', '/put', '/2']));
  });

  test('each further upload makes one more room: a copy that was dropped does not wait any longer', async () => {
    const [live, next] = [await backend(), await backend()];
    const gw = await gateway(live, next, { mirror: { maxInFlight: 2 } });
    const uploads: Socket[] = [];
    for (const path of ['/1', '/2', '/3', '/4', '/5']) uploads.push(await halfUpload(gw, path));
    await becomes(() => expect(gw.results()).toEqual(['too_many', 'too_many', 'too_many']));
    for (const upload of uploads) upload.write('done');
    await becomes(() => expect(next.seen.map(({ url }) => url).sort()).toEqual(['/4', '/5']));
  });

  test('copies in progress make no room for uploads', async () => {
    const held: ServerResponse[] = [];
    const gw = await gateway(await backend(), await backend((_req, res) => void held.push(res)), {
      mirror: { maxInFlight: 2 },
    });
    expect((await fetch(gw.url, { method: 'POST', body: 'x' })).status).toBe(200);
    await becomes(() => expect(held).toHaveLength(1));
    await halfUpload(gw, '/1');
    await halfUpload(gw, '/2');
    held[0]?.end();
    await becomes(() => expect(gw.results()).toEqual(['sent']));
  });

  test('uploads that reached no backend do not wait for their bodies', async () => {
    const [live, next] = [await backend(), await backend()];
    const gw = await gateway(live, next, { mirror: { maxInFlight: 1 } });
    gw.router.services.get('live')?.isolate(live.url);
    for (const path of ['a', 'b']) {
      expect((await fetch(`${gw.url}/${path}`, { method: 'POST', body: 'x' })).status).toBe(503);
    }
    expect(gw.results()).toEqual([]);
  });

  test.each([
    ['an object', {}, /x-bad"] to a value of type object/],
    ['a control character', 'a\u0007', /header "x-bad" to a value with a character/],
  ])('a header that a middleware set to %s makes the copy fail as well', async (_what, value, message) => {
    const [live, next] = [await backend(), await backend()];
    const before: express.RequestHandler = (req, _res, go) => {
      req.headers['x-bad'] = value as string;
      go();
    };
    const gw = await gateway(live, next, { before });
    expect((await fetch(gw.url)).status).toBe(500);
    await becomes(() =>
      expect(gw.told).toMatchObject([{ result: 'failed', error: { message: expect.stringMatching(message) } }]),
    );
    expect(next.seen).toEqual([]);
  });

  test('a copy with connection-based authentication (NTLM) leaves no connection to other clients', async () => {
    const live = await backend();
    const next = cleanup.add(await RecorderBackend.start(answerOk));
    const gw = await gateway(live, next);
    for (const authorization of ['NTLM abc', 'Bearer abc', 'Bearer abc']) {
      const sent = gw.results().length;
      await fetch(gw.url, { headers: { authorization } });
      await becomes(() => expect(gw.results()).toHaveLength(sent + 1));
      if (sent === 0) await becomes(() => expect(next.connections.size).toBe(0));
    }
    expect(next.connections.size).toBe(1);
  });

  test('a mirror that is down, resets or hangs changes no circuit', async () => {
    const live = await backend();
    const next = await backend((req) => void req.socket.resetAndDestroy());
    const gw = await gateway(live, next, {
      services: { live: { backends: [live.url] }, next: { backends: [next.url], circuit: { minimumRequests: 1 } } },
      mirror: { timeoutMs: 50 },
    });
    for (let request = 0; request < 8; request += 1) await fetch(gw.url);
    await becomes(() => expect(gw.results()).toEqual(Array(8).fill('failed')));
    expect(gw.router.services.get('next')?.status()[0]?.circuit).toBe('closed');
    const silent = await backend(() => {});
    gw.router.services.get('next')?.setBackends([silent.url]);
    await fetch(gw.url);
    await becomes(() => expect(gw.told[8]?.error?.message).toBe('no response within 50 ms'));
    expect(gw.router.services.get('next')?.status()[0]?.circuit).toBe('closed');
    const away = await gateway(live, { url: 'http://127.0.0.1:9' });
    expect((await fetch(away.url)).status).toBe(200);
    await becomes(() => expect(away.told[0]?.error).toMatchObject({ code: 'ECONNREFUSED' }));
    expect(away.router.services.get('next')?.status()[0]?.circuit).toBe('closed');
  });

  test('a copy whose response breaks off has been sent', async () => {
    const next = await backend(
      (_req, res) => void res.writeHead(200).write('half', () => afterRead(() => res.destroy())),
    );
    const gw = await gateway(await backend(), next);
    await fetch(gw.url);
    await becomes(() => expect(gw.told).toMatchObject([{ result: 'sent', error: undefined }]));
  });

  test('a copy that times out while it waits for a connection is not sent later', async () => {
    let [requests, closed] = [0, 0];
    const secure = createTlsServer(certificate, (_req, res) => {
      requests += 1;
      res.end();
    });
    secure.on('connection', (socket: Socket) => {
      socket.on('close', () => {
        closed += 1;
      });
    });
    const { port } = cleanup.add(await listen(() => {}, secure as never));
    const relay = cleanup.add(new TcpRelay(port));
    const url = `https://127.0.0.1:${await relay.listen()}`;
    const live = await backend();
    const services = { live: { backends: [live.url] }, next: { backends: [url], tls: { ca: certificate.cert } } };
    const gw = await gateway(live, { url }, { services, mirror: { timeoutMs: 100 } });
    // The TLS handshake waits.
    relay.hold();
    await fetch(gw.url);
    await becomes(() => expect(gw.told[0]?.error?.message).toBe('no response within 100 ms'));
    relay.release();
    await eventually('its connection is closed', () => closed === 1);
    expect([gw.results(), requests]).toEqual([['failed'], 0]);
  });

  test('the copies go to the other backends while the circuit of one is open', async () => {
    let isBroken = true;
    const [live, well] = [await backend(), await backend()];
    const troubled = await backend((_req, res) => void res.writeHead(isBroken ? 500 : 200).end());
    const circuit = { minimumRequests: 1, halfOpenRequests: 1, openMs: 20 };
    const gw = await gateway(live, well, {
      services: {
        live: { backends: [live.url] },
        next: { backends: [troubled.url, well.url], circuit, retry: { attempts: 0 } },
      },
      routes: [
        { path: '/next', service: 'next' },
        { service: 'live', mirror: { service: 'next' } },
      ],
    });
    const state = () => gw.router.services.get('next')?.status()[0];
    for (let request = 0; request < 2; request += 1) await fetch(`${gw.url}/next`);
    await eventually('a trial may begin', () => state()?.circuit === 'open' && state()?.available === true);
    isBroken = false;
    for (let request = 0; request < 4; request += 1) await fetch(gw.url);
    await becomes(() => expect(gw.results()).toEqual(Array(4).fill('sent')));
    expect(troubled.seen.map(({ url }) => url)).toEqual(['/next']);
  });

  test('a backend whose circuit is open, or that is drained, gets no copy', async () => {
    const [live, next] = [await backend(), await backend()];
    const gw = await gateway(live, next);
    gw.router.services.get('next')?.isolate(next.url);
    await fetch(gw.url);
    gw.router.services.get('next')?.restore(next.url);
    gw.router.services.get('next')?.drain(next.url);
    await fetch(gw.url);
    expect(gw.results()).toEqual(['no_backend', 'no_backend']);
  });

  test('a trial of a circuit is for a request of the service itself: until it has closed, its backend gets no copy', async () => {
    let isBroken = true;
    const [live, next] = [
      await backend(),
      await backend((_req, res) => void res.writeHead(isBroken ? 500 : 200).end()),
    ];
    const circuit = { minimumRequests: 1, halfOpenRequests: 1, openMs: 20 };
    const gw = await gateway(live, next, {
      services: { live: { backends: [live.url] }, next: { backends: [next.url], circuit } },
      routes: [
        { path: '/next', service: 'next' },
        { service: 'live', mirror: { service: 'next' } },
      ],
    });
    await fetch(`${gw.url}/next`);
    const state = () => gw.router.services.get('next')?.status()[0];
    await eventually('a trial may begin', () => state()?.circuit === 'open' && state()?.available === true);
    await fetch(gw.url);
    expect(gw.results()).toEqual(['no_backend']);
    isBroken = false;
    expect((await fetch(`${gw.url}/next`)).status).toBe(200);
    await fetch(gw.url);
    await becomes(() => expect(gw.results()).toEqual(['no_backend', 'sent']));
  });

  test('an upload gets no copy if all places are taken when its body is complete, or its backend is gone', async () => {
    const held: ServerResponse[] = [];
    const [live, next] = [await backend(), await backend((_req, res) => void held.push(res))];
    const gw = await gateway(live, next, { mirror: { maxInFlight: 1 } });
    const first = await halfUpload(gw, '/1');
    await fetch(gw.url);
    await becomes(() => expect(held).toHaveLength(1));
    first.write('done');
    await becomes(() => expect(gw.results()).toEqual(['too_many']));
    held[0]?.end();
    await becomes(() => expect(gw.results()).toEqual(['too_many', 'sent']));
    const second = await halfUpload(gw, '/2');
    gw.router.services.get('next')?.setBackends([live.url]);
    second.write('done');
    await becomes(() => expect(gw.results()).toEqual(['too_many', 'sent', 'no_backend']));
    expect(next.seen.map(({ url }) => url)).toEqual(['/']);
  });

  test('requests that the gateway responds to itself are not copied', async () => {
    const [live, next] = [await backend(), await backend()];
    const gw = await gateway(live, next, {
      services: { live: { backends: [live.url], maxBodyBytes: 10 }, next: { backends: [next.url] } },
    });
    expect((await fetch(gw.url, { method: 'POST', body: 'x'.repeat(11) })).status).toBe(413);
    gw.router.services.get('live')?.isolate(live.url);
    expect((await fetch(gw.url)).status).toBe(503);
    expect((await fetch(gw.url, { method: 'OPTIONS', headers: { 'Max-Forwards': '0' } })).status).toBe(204);
    gw.router.services.get('live')?.restore(live.url);
    expect((await fetch(`${gw.url}/last`)).status).toBe(200);
    await becomes(() => expect(gw.results()).toEqual(['sent']));
    expect(next.seen.map(({ url }) => url)).toEqual(['/last']);
  });

  test('a client that breaks off its body leaves no copy', async () => {
    const [live, next] = [await backend(), await backend()];
    const gw = await gateway(live, next);
    const socket = connect(gw.port, '127.0.0.1');
    socket.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf');
    await becomes(() => expect(gw.router.services.get('live')?.load().inFlight).toBe(1));
    socket.destroy();
    await becomes(() => expect(gw.results()).toEqual(['body_incomplete']));
    expect(next.seen).toEqual([]);
  });

  test('a body that a middleware has read is copied by the option body of the mirror', async () => {
    const [live, next] = [await backend(), await backend()];
    const services = (own: object) => ({
      live: { backends: [live.url], body: (req: IncomingMessage) => JSON.stringify((req as express.Request).body) },
      next: { backends: [next.url], ...own },
    });
    const before = express.json();
    const send = (url: string) =>
      fetch(url, { method: 'POST', body: '{"a": 1}', headers: { 'Content-Type': 'application/json' } });
    const without = await gateway(live, next, { before, services: services({}) });
    expect((await send(without.url)).status).toBe(200);
    expect(without.results()).toEqual(['body_incomplete']);
    const { body } = services({}).live;
    const gw = await gateway(live, next, { before, services: services({ body }) });
    expect((await send(gw.url)).status).toBe(200);
    await becomes(() => expect(gw.results()).toEqual(['sent']));
    expect(next.seen.map((one) => one.body)).toEqual(['{"a":1}']);
    const longer = (req: IncomingMessage) => JSON.stringify((req as express.Request).body, undefined, 2);
    const short = await gateway(live, next, {
      before,
      services: services({ body: longer }),
      mirror: { maxBodyBytes: 8 },
    });
    expect((await send(short.url)).status).toBe(200);
    expect(short.results()).toEqual(['body_too_large']);
    const gzipped = { 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' };
    expect((await fetch(gw.url, { method: 'POST', body: gzipSync('{"a": 2}'), headers: gzipped })).status).toBe(200);
    await becomes(() => expect(next.seen.at(-1)?.body).toBe('{"a":2}'));
    expect(next.seen.at(-1)?.headers).not.toHaveProperty('content-encoding');
  });

  test('a body that a middleware turns into text on the way is not copied', async () => {
    const [live, next] = [await backend(), await backend()];
    const before: express.RequestHandler = (req, _res, go) => {
      go();
      req.setEncoding('utf8');
    };
    const gw = await gateway(live, next, { before });
    expect((await fetch(gw.url, { method: 'POST', body: 'é'.repeat(20) })).status).toBe(500);
    expect(gw.results()).toEqual(['body_incomplete']);
    expect(next.seen).toEqual([]);
  });

  test('a mirror that leads back to the gateway ends after one round', async () => {
    const live = await backend();
    const services = { live: { backends: [live.url] }, next: { backends: ['http://127.0.0.1:1'] } };
    const gw = await gateway(live, live, { services });
    gw.router.services.get('next')?.setBackends([gw.url]);
    await fetch(gw.url);
    await becomes(() => expect(gw.results().toSorted()).toEqual(['loop', 'sent']));
    expect(live.seen).toHaveLength(2);
  });

  test('a request that another proxy has forwarded is copied', async () => {
    const [live, next] = [await backend(), await backend()];
    const gw = await gateway(live, next);
    await fetch(gw.url, { headers: { Via: '1.1 another-proxy' } });
    await becomes(() => expect(gw.results()).toEqual(['sent']));
  });

  test('percent is the share that is copied', async () => {
    const [live, next] = [await backend(), await backend()];
    const gw = await gateway(live, next, { mirror: { percent: 0.5 } });
    const draws = [0.0049, 0.005, 0.9];
    const random = Math.random;
    Math.random = () => draws.shift() ?? random();
    try {
      for (const path of ['a', 'b', 'c']) await fetch(`${gw.url}/${path}`);
    } finally {
      Math.random = random;
    }
    await becomes(() => expect(gw.results()).toEqual(['sent']));
    expect(next.seen.map(({ url }) => url)).toEqual(['/a']);
  });

  test('an event stream of the mirror does not keep its copy in progress', async () => {
    const stream = await backend((_req, res) => {
      res.writeHead(200, { 'Content-Type': 'text/event-stream' }).write('data: 1\n\n');
    });
    const gw = await gateway(await backend(), stream, { mirror: { timeoutMs: 600_000 } });
    await fetch(gw.url);
    await becomes(() => expect(gw.results()).toEqual(['sent']));
  });

  test('the connection to a mirror is used again after a short response, and closed in the middle of a long one', async () => {
    const answerOf: Script = (socket, { target }) => {
      const [length, body] = target === '/long' ? [4_000_000, 'x'.repeat(2_000_000)] : [5, 'hello'];
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n${body}`);
    };
    const next = cleanup.add(await RecorderBackend.start(answerOf));
    const gw = await gateway(await backend(), next);
    for (const [index, path] of ['/short', '/short', '/long'].entries()) {
      await fetch(gw.url + path);
      await becomes(() => expect(gw.results()).toHaveLength(index + 1));
    }
    await becomes(() => expect(next.connections.size).toBe(0));
    expect([gw.results(), next.received.length]).toEqual([['sent', 'sent', 'sent'], 1]);
  });

  test('an upgrade is not copied', async () => {
    const switches: Script = (socket, request, index) =>
      request.field('upgrade') === undefined ? answerOk(socket, request, index) : rawSilence(socket, request, index);
    const [live, next] = [cleanup.add(await RecorderBackend.start(switches)), await backend()];
    const gw = await gateway(live, next);
    cleanup.add(await rawTunnel(gw.port));
    expect((await fetch(`${gw.url}/get`)).status).toBe(200);
    await becomes(() => expect(next.seen.map(({ url }) => url)).toEqual(['/get']));
  });

  test('copies in progress end with the router, and a service that is replaced', async () => {
    const [live, next] = [await backend(), await backend(() => {})];
    const gw = await gateway(live, next, { mirror: { timeoutMs: 600_000 } });
    await fetch(gw.url);
    await becomes(() => expect(next.seen).toHaveLength(1));
    const routes = [{ service: 'live', mirror: { service: 'next', timeoutMs: 600_000 } }];
    const services = { live: { backends: [live.url] }, next: { backends: [next.url], connectTimeoutMs: 1_000 } };
    gw.router.setDeclaration({ services, routes });
    await becomes(() => expect(gw.results()).toEqual(['failed']));
    await fetch(gw.url);
    await becomes(() => expect(next.seen).toHaveLength(2));
    await gw.router.close();
    expect(gw.results()).toEqual(['failed', 'failed']);
    expect((await fetch(gw.url)).status).toBe(503);
    expect(gw.results()).toEqual(['failed', 'failed']);
  });

  test('metrics count the copies by service and result', async () => {
    const [live, next] = [await backend(), await backend()];
    const gw = await gateway(live, next, { mirror: { maxBodyBytes: 0 } });
    const registered: { name: string; get(): Promise<unknown> }[] = [];
    const register = { registerMetric: (metric: never) => void registered.push(metric) };
    cleanup.add(prometheusMetrics({ register, events: gw.events }));
    await fetch(gw.url);
    await fetch(gw.url, { method: 'POST', body: 'x' });
    await becomes(() => expect(gw.results().toSorted()).toEqual(['body_too_large', 'sent']));
    const metric = registered.find(({ name }) => name === 'expressway_mirrored_requests_total');
    expect(await metric?.get()).toMatchObject({
      values: expect.arrayContaining([
        { labels: { service: 'next', result: 'sent' }, value: 1 },
        { labels: { service: 'next', result: 'body_too_large' }, value: 1 },
      ]),
    });
  });
});

test.each([
  [{ respond: {}, mirror: { service: 'a' } }, /route 1: mirror needs a service/],
  [{ service: 'a', mirror: { service: 'b' } }, /mirror must name one of services: there is no service "b"/],
  [
    { service: 'a', mirror: { service: 'a', percent: 0 } },
    /mirror: percent must be a number over 0 and up to 100, got 0/,
  ],
  [{ service: 'a', mirror: { service: 'a', percent: 101 } }, /percent must be a number over 0 and up to 100, got 101/],
  [{ service: 'a', mirror: { service: 'a', fraction: {} } }, /mirror: unknown option "fraction": use percent/],
])('%j is refused', (route, problem) => {
  const make = () =>
    serviceRouter({ services: { a: { backends: ['http://localhost:1'] } }, routes: [route as never] }).close();
  expect(make).toThrow(problem);
});
