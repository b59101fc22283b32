import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { connect, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import * as api from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import {
  AlwaysOffSampler,
  BasicTracerProvider,
  InMemorySpanExporter,
  ParentBasedSampler,
  type ReadableSpan,
  type Sampler,
  SimpleSpanProcessor,
  type SpanProcessor,
} from '@opentelemetry/sdk-trace-base';
import express, { type Express } from 'express';
import {
  accessLog,
  circuitBreaker,
  GatewayEvents,
  hardenServer,
  ipRateLimit,
  observability,
  type RoundRobinProxyOptions,
  roundRobinProxy,
  serviceRouter,
  type TracingOptions,
  tracing,
  upgradeHandler,
} from 'expressway';
import { ask, type Json } from '../support/ask.ts';
import { Cleanup } from '../support/gateway.ts';
import { Http2Backend, respondWithTrailers } from '../support/http2-backend.ts';
import { afterRead, pause } from '../support/pause.ts';
import { answer, RecorderBackend, type Script } from '../support/recorder-backend.ts';
import { closedPort, eventually, listen } from '../support/servers.ts';
import { expectWarnings } from '../support/warnings.ts';

expectWarnings('WARN_EXPRESSWAY_TRUST_PROXY');

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const PARENT = 'b7ad6b7169203331';
const SAMPLED = `00-${TRACE}-${PARENT}-01`;

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

const cleanup = new Cleanup();
let exporter: InMemorySpanExporter;
let started: number;
let lines: Json[];

beforeEach(() => {
  exporter = new InMemorySpanExporter();
  started = 0;
  lines = [];
});

afterEach(async () => {
  await cleanup.run();
  api.trace.disable();
  api.context.disable();
  jest.restoreAllMocks();
});

/** A real SDK, as an application registers it, whose spans stay in memory. */
function register(sampler?: Sampler, more: SpanProcessor[] = []): void {
  const counting = processor({
    onStart() {
      started += 1;
    },
  });
  const spanProcessors = [...more, counting, new SimpleSpanProcessor(exporter)];
  api.trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors, ...(sampler && { sampler }) }));
  api.context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
}

function processor(parts: Partial<SpanProcessor>): SpanProcessor {
  return { onStart() {}, onEnd() {}, async forceFlush() {}, async shutdown() {}, ...parts };
}

interface Setup {
  readonly options?: Partial<TracingOptions> | 'off';
  readonly backends?: readonly string[];
  readonly proxy?: Partial<RoundRobinProxyOptions>;
  readonly script?: Script;
  readonly limit?: number;
  readonly trustProxy?: string;
  readonly route?: string;
  /** Mounts what comes before `observability()`. */
  readonly before?: (app: Express) => void;
  readonly prepare?: (app: Express) => void;
  readonly serverOf?: (app: Express) => Server;
}

async function open({ options = {}, backends, proxy: proxyOptions, script, prepare, ...rest }: Setup = {}) {
  const backend = cleanup.add(await RecorderBackend.start(script ?? answer(OK)));
  const events = new GatewayEvents();
  const app = express();
  if (rest.trustProxy !== undefined) app.set('trust proxy', rest.trustProxy);
  rest.before?.(app);
  app.use(
    observability({
      accessLog: accessLog({ to: { write: (line: string) => lines.push(JSON.parse(line)) } }),
      tracing: options === 'off' ? undefined : tracing({ api, ...options }),
      ...(rest.route !== undefined && { route: rest.route }),
    }),
  );
  prepare?.(app);
  const limiter = cleanup.add(ipRateLimit({ limit: rest.limit ?? 1_000, events }));
  const breaker = circuitBreaker({ events, minimumRequests: 100 });
  const proxy = cleanup.add(
    roundRobinProxy({ backends: backends ?? [backend.url], events, responseTimeoutMs: 2_000, ...proxyOptions }),
  );
  app.use(limiter, breaker, proxy);
  const gateway = cleanup.add(await listen(app, rest.serverOf?.(app)));
  gateway.server.on('upgrade', upgradeHandler(app));
  return { ...gateway, backend, breaker };
}

/** Spans by kind, once there are so many and none is left open. */
async function spans(count: number): Promise<{ server: ReadableSpan; clients: ReadableSpan[] }> {
  await eventually(`${count} spans`, () => exporter.getFinishedSpans().length >= count && started === count);
  const all = exporter.getFinishedSpans();
  expect(all).toHaveLength(count);
  const [server, ...others] = all.filter(({ kind }) => kind === api.SpanKind.SERVER);
  expect(others).toEqual([]);
  return { server: server as ReadableSpan, clients: all.filter(({ kind }) => kind === api.SpanKind.CLIENT) };
}

const idsOf = (span: ReadableSpan | undefined) => span?.spanContext() as api.SpanContext;
const traceParentOf = (span: ReadableSpan | undefined) => `00-${idsOf(span).traceId}-${idsOf(span).spanId}-01`;
const statusOf = (span: ReadableSpan | undefined) => [span?.status.code, span?.attributes['error.type']];
const UNSET = [api.SpanStatusCode.UNSET, undefined];
const error = (type: string) => [api.SpanStatusCode.ERROR, type];

describe('the spans of one request', () => {
  test('name the version of HTTP on each side', async () => {
    register();
    const backend = cleanup.add(await Http2Backend.start((stream) => stream.respond({}, { endStream: true })));
    const { url } = await open({ backends: [backend.url], proxy: { protocol: 'http2' } });
    await ask(url);
    const { server, clients } = await spans(2);
    const versions = [server, ...clients].map(({ attributes }) => attributes['network.protocol.version']);
    expect(versions).toEqual(['1.1', '2']);
  });

  test.each([
    // status, SERVER span, CLIENT span
    ['0', undefined, undefined],
    ['5', undefined, 'grpc-status 5'],
    ['14', 'grpc-status 14', 'grpc-status 14'],
  ])('have the status %s of a gRPC call', async (status, serverError, clientError) => {
    register();
    const backend = cleanup.add(await Http2Backend.start((stream) => respondWithTrailers(stream, 'x', status)));
    const { url } = await open({ backends: [backend.url], proxy: { protocol: 'http2' } });
    await ask(url);
    const { server, clients } = await spans(2);
    const facts = [server, ...clients].map(({ attributes, status: { code } }) => [
      attributes['http.response.status_code'],
      attributes['rpc.grpc.status_code'],
      attributes['error.type'],
      code === api.SpanStatusCode.ERROR,
    ]);
    expect(facts).toEqual([
      [200, Number(status), serverError, serverError !== undefined],
      [200, Number(status), clientError, clientError !== undefined],
    ]);
  });

  test('are one for the request and one for its attempt, whose id the backend gets', async () => {
    register();
    const { url, port, backend } = await open();
    const { headers } = await ask(`${url}/a/b?token=geheim`, { headers: { 'User-Agent': 'me' } });
    const { server, clients } = await spans(2);
    const [client] = clients;
    expect(server.name).toBe('GET');
    expect(server.parentSpanContext).toBeUndefined();
    expect(server.attributes).toEqual({
      'http.request.method': 'GET',
      'url.path': '/a/b',
      'url.scheme': 'http',
      'server.address': '127.0.0.1',
      'server.port': port,
      'client.address': '127.0.0.1',
      'network.peer.address': '127.0.0.1',
      'network.protocol.version': '1.1',
      'user_agent.original': 'me',
      'http.response.status_code': 200,
      'expressway.service': 'default',
      'expressway.backend': backend.url,
      'expressway.attempts': 1,
      'expressway.request_id': headers['x-request-id'],
    });
    expect(client?.attributes).toEqual({
      'http.request.method': 'GET',
      'url.full': `${backend.url}/a/b`,
      'server.address': '127.0.0.1',
      'server.port': backend.port,
      'network.protocol.version': '1.1',
      'http.response.status_code': 200,
      'expressway.service': 'default',
      'expressway.backend': backend.url,
    });
    expect(client?.parentSpanContext?.spanId).toBe(idsOf(server).spanId);
    expect([statusOf(server), statusOf(client)]).toEqual([UNSET, UNSET]);
    expect(server.events.map(({ name, attributes }) => [name, attributes])).toEqual([
      [
        'expressway.limiter',
        {
          'expressway.limiter.name': 'ip',
          'expressway.limiter.mode': 'memory',
          'expressway.limiter.decision': 'allowed',
          'expressway.limiter.limit': 1_000,
          'expressway.limiter.remaining': 999,
        },
      ],
    ]);
    expect(backend.requests[0]?.all('traceparent')).toEqual([traceParentOf(client)]);
    expect(backend.requests[0]?.all('tracestate')).toEqual([]);
    await eventually('a line', () => lines.length === 1);
    expect(lines[0].traceId).toBe(idsOf(server).traceId);
  });

  test('are active in later middlewares, also after an await', async () => {
    register();
    const tracer = api.trace.getTracer('app');
    const { url } = await open({
      prepare: (app) =>
        app.use(async (_req, _res, next) => {
          await pause('something that takes a while', 5);
          tracer.startSpan('inner').end();
          next();
        }),
    });
    await ask(url);
    const { server, clients } = await spans(3);
    const inner = exporter.getFinishedSpans().find(({ name }) => name === 'inner');
    expect(inner?.parentSpanContext?.spanId).toBe(idsOf(server).spanId);
    expect(clients[0]?.parentSpanContext?.spanId).toBe(idsOf(server).spanId);
  });

  test('are found in the headers by other instrumentation', async () => {
    register();
    const { url } = await open({
      prepare: (app) => app.get('/local', (req, res) => void res.json(req.headers)),
    });
    const { json } = await ask(`${url}/local`, { headers: { traceparent: SAMPLED, tracestate: 'a=1' } });
    const { server } = await spans(1);
    expect([json.traceparent, json.tracestate]).toEqual([traceParentOf(server), undefined]);
    expect(server.attributes['http.response.status_code']).toBe(200);
    expect(server.attributes).not.toHaveProperty('expressway.backend');
  });

  test('have the route as name, a known method, and no secrets', async () => {
    register();
    const { url } = await open({ options: { query: true, redact: ['pin'] }, route: 'files' });
    await ask(`${url}/a;jsessionid=geheim?token=geheim&pin=geheim&page=2`, { method: 'PROPFIND' });
    const { server, clients } = await spans(2);
    expect([server.name, clients[0]?.name]).toEqual(['HTTP files', 'HTTP']);
    expect(server.attributes).toMatchObject({
      'http.request.method': '_OTHER',
      'http.request.method_original': 'PROPFIND',
      'http.route': 'files',
      'url.path': '/a;jsessionid=***',
      'url.query': 'token=***&pin=***&page=2',
    });
    expect(clients[0]?.attributes['url.full']).toMatch(/\/a;jsessionid=\*\*\*\?token=\*\*\*&pin=\*\*\*&page=2$/);
    expect(JSON.stringify([server.attributes, clients[0]?.attributes])).not.toContain('geheim');
  });

  test('have the route of a router in their name', async () => {
    register();
    const prepare = (app: Express) => {
      const shop = { path: '/shop', name: 'shop', respond: { body: 'ok' } };
      app.use(cleanup.add(serviceRouter({ services: {}, routes: [shop] })));
    };
    const { url } = await open({ prepare });
    await ask(`${url}/shop/42`);
    const { server } = await spans(1);
    expect([server.name, server.attributes['http.route']]).toEqual(['GET shop', 'shop']);
  });

  test('have scheme, host and client from a trusted proxy, but not from untrusted clients', async () => {
    register();
    const headers = {
      'X-Forwarded-Proto': 'https',
      'X-Forwarded-Host': 'shop.example:8443',
      'X-Forwarded-For': '192.0.2.7',
    };
    const trusting = await open({ trustProxy: 'loopback' });
    await ask(trusting.url, { headers });
    expect((await spans(2)).server.attributes).toMatchObject({
      'url.scheme': 'https',
      'server.address': 'shop.example',
      'server.port': 8443,
      'client.address': '192.0.2.7',
      'network.peer.address': '127.0.0.1',
    });
    exporter.reset();
    started = 0;
    const { url, port } = await open();
    await ask(url, { headers });
    expect((await spans(2)).server.attributes).toMatchObject({
      'url.scheme': 'http',
      'server.port': port,
      'client.address': '127.0.0.1',
    });
  });
});

describe('the trace that a client sends', () => {
  test('from a trusted peer is continued, with its tracestate', async () => {
    register();
    const { url, backend } = await open({ trustProxy: 'loopback' });
    const headers = { traceparent: SAMPLED, tracestate: 'congo=t61rcWkgMzE,rojo=00f067aa', baggage: 'userId=alice' };
    await ask(url, { headers });
    const { server, clients } = await spans(2);
    expect(server.parentSpanContext).toMatchObject({ traceId: TRACE, spanId: PARENT, isRemote: true });
    expect(server.links).toEqual([]);
    expect(backend.requests[0]?.all('traceparent')).toEqual([`00-${TRACE}-${idsOf(clients[0]).spanId}-01`]);
    expect(backend.requests[0]?.all('tracestate')).toEqual(['congo=t61rcWkgMzE,rojo=00f067aa']);
    expect(backend.requests[0]?.all('baggage')).toEqual(['userId=alice']);
  });

  test('a trace of a trusted peer that is not sampled makes no span, and the backend gets that flag', async () => {
    register();
    const { url, backend } = await open({ trustProxy: 'loopback' });
    await ask(url, { headers: { traceparent: `00-${TRACE}-${PARENT}-00` } });
    await eventually('a line', () => lines.length === 1);
    const [, traceId, spanId, flags] = String(backend.requests[0]?.field('traceparent')).split('-');
    expect([traceId, flags, lines[0].traceId]).toEqual([TRACE, '00', TRACE]);
    expect(spanId).not.toBe(PARENT);
    expect([exporter.getFinishedSpans(), started]).toEqual([[], 0]);
  });

  test('from an untrusted client becomes a link of a new trace, and does not decide on sampling', async () => {
    register();
    const { url, backend } = await open();
    await ask(url, { headers: { traceparent: SAMPLED, tracestate: 'a=1' } });
    const { server } = await spans(2);
    expect(idsOf(server).traceId).not.toBe(TRACE);
    expect(server.parentSpanContext).toBeUndefined();
    expect(server.links.map(({ context }) => [context.traceId, context.spanId])).toEqual([[TRACE, PARENT]]);
    expect(backend.requests[0]?.all('tracestate')).toEqual([]);

    api.trace.disable();
    exporter.reset();
    started = 0;
    register(new ParentBasedSampler({ root: new AlwaysOffSampler() }));
    const stranger = await open();
    await ask(stranger.url, { headers: { traceparent: SAMPLED } });
    await eventually('a line', () => lines.length === 2);
    expect(started).toBe(0);
    expect(stranger.backend.requests[0]?.field('traceparent')).toMatch(/-00$/);
    const trusting = await open({ trustProxy: 'loopback' });
    await ask(trusting.url, { headers: { traceparent: SAMPLED } });
    expect(idsOf((await spans(2)).server).traceId).toBe(TRACE);
  });

  test('trustIncoming trusts all peers, or no peer', async () => {
    register();
    const all = await open({ options: { trustIncoming: 'all' } });
    await ask(all.url, { headers: { traceparent: SAMPLED } });
    expect((await spans(2)).server.parentSpanContext?.spanId).toBe(PARENT);
    exporter.reset();
    started = 0;
    const none = await open({ options: { trustIncoming: 'none' }, trustProxy: 'loopback' });
    await ask(none.url, { headers: { traceparent: SAMPLED } });
    expect((await spans(2)).server.parentSpanContext).toBeUndefined();
  });

  test.each([
    ['version ff', [SAMPLED.replace('00', 'ff')]],
    ['zeros', [`00-${'0'.repeat(32)}-${PARENT}-01`]],
    ['upper case', [SAMPLED.toUpperCase()]],
    ['a wrong length', [`${SAMPLED}-more`]],
    ['several fields', [SAMPLED, SAMPLED]],
    ['none, and a state', []],
  ])('is ignored with %s: a new trace has no state or link', async (_what, values) => {
    register();
    const { port, backend } = await open({ trustProxy: 'loopback' });
    const given = values.map((value) => `traceparent: ${value}\r\n`).join('');
    await raw(port, `GET / HTTP/1.1\r\nHost: a\r\n${given}tracestate: a=1\r\nConnection: close\r\n\r\n`);
    const { server, clients } = await spans(2);
    expect(server.parentSpanContext).toBeUndefined();
    expect(server.links).toEqual([]);
    expect(backend.requests[0]?.all('traceparent')).toEqual([traceParentOf(clients[0])]);
    expect(backend.requests[0]?.all('tracestate')).toEqual([]);
  });

  test('B03: cannot be removed by Connection, and loses invalid members of tracestate', async () => {
    register();
    const { port, backend } = await open({ trustProxy: 'loopback' });
    const fields = `traceparent: ${SAMPLED}\r\ntracestate: a=1, B AD=2\r\ntracestate: c=3\r\n`;
    await raw(port, `GET / HTTP/1.1\r\nHost: a\r\n${fields}Connection: close, traceparent, tracestate\r\n\r\n`);
    const { clients } = await spans(2);
    expect(backend.requests[0]?.all('traceparent')).toEqual([`00-${TRACE}-${idsOf(clients[0]).spanId}-01`]);
    expect(backend.requests[0]?.all('tracestate')).toEqual(['a=1,c=3']);
  });
});

describe('a span that is already active', () => {
  const tracer = () => api.trace.getTracer('of the app');
  const all = async (count: number) => {
    await eventually(`${count} spans`, () => exporter.getFinishedSpans().length === count);
    return exporter.getFinishedSpans();
  };

  test("becomes the parent, as with @opentelemetry/instrumentation-http, instead of the client's header", async () => {
    register();
    const baggage = api.createContextKey('baggage of the app');
    const seen: unknown[] = [];
    const { url, backend } = await open({
      trustProxy: 'loopback',
      before: (app) =>
        app.use((_req, res, next) => {
          const span = tracer().startSpan('outer', { kind: api.SpanKind.SERVER });
          res.once('close', () => span.end());
          const context = api.trace.setSpan(api.context.active(), span).setValue(baggage, 'kept');
          api.context.with(context, next);
        }),
      prepare: (app) =>
        app.use((_req, _res, next) => {
          seen.push(api.context.active().getValue(baggage));
          next();
        }),
    });
    await ask(url, { headers: { traceparent: SAMPLED } });
    expect(await all(3)).toHaveLength(3);
    const byKind = (kind: api.SpanKind) => exporter.getFinishedSpans().find((span) => span.kind === kind);
    const server = byKind(api.SpanKind.INTERNAL);
    expect(byKind(api.SpanKind.SERVER)?.name).toBe('outer');
    expect(server?.parentSpanContext?.spanId).toBe(idsOf(byKind(api.SpanKind.SERVER)).spanId);
    expect(server?.links).toEqual([]);
    expect(byKind(api.SpanKind.CLIENT)?.parentSpanContext?.spanId).toBe(idsOf(server).spanId);
    expect(backend.requests[0]?.field('traceparent')).toBe(traceParentOf(byKind(api.SpanKind.CLIENT)));
    expect(seen).toEqual(['kept']);
  });

  test('from another process, extracted by the app, is the parent of a SERVER span', async () => {
    register();
    const parent = { traceId: TRACE, spanId: PARENT, traceFlags: 1, isRemote: true };
    const { url } = await open({
      before: (app) =>
        app.use((_req, _res, next) => api.context.with(api.trace.setSpanContext(api.ROOT_CONTEXT, parent), next)),
    });
    await ask(url);
    const { server } = await spans(2);
    expect(server.parentSpanContext).toEqual(parent);
  });

  test('is not the parent when it has ended', async () => {
    register();
    const { url } = await open({
      before: (app) => {
        const start = tracer().startSpan('start');
        start.end();
        app.use((_req, _res, next) => api.context.with(api.trace.setSpan(api.ROOT_CONTEXT, start), next));
      },
    });
    await ask(url);
    const found = await all(3);
    expect(found.find(({ kind }) => kind === api.SpanKind.SERVER)?.parentSpanContext).toBeUndefined();
  });
});

describe('spans of failures', () => {
  test('a retry has its own span, with its own id', async () => {
    register();
    const dead = `http://127.0.0.1:${await closedPort()}`;
    const backend = cleanup.add(await RecorderBackend.start(answer(OK)));
    const { url } = await open({ backends: [dead, backend.url] });
    await ask(url, { method: 'POST', content: 'abc' });
    const { server, clients } = await spans(3);
    expect(clients.map((span) => span.attributes['expressway.backend'])).toEqual([dead, backend.url]);
    expect(clients.map((span) => span.attributes['http.request.resend_count'])).toEqual([undefined, 1]);
    expect(clients.map(statusOf)).toEqual([error('connection_refused'), UNSET]);
    expect(clients[0]?.status.message).toMatch(/ECONNREFUSED/);
    expect(clients[0]?.attributes).not.toHaveProperty(['http.response.status_code']);
    expect(statusOf(server)).toEqual(UNSET);
    expect(server.attributes).toMatchObject({ 'http.response.status_code': 200, 'expressway.attempts': 2 });
    expect(backend.requests.map((request) => request.field('traceparent'))).toEqual([traceParentOf(clients[1])]);
  });

  test('a retried status is on the span of its attempt', async () => {
    register();
    const busy = cleanup.add(await RecorderBackend.start(answer('HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n')));
    const backend = cleanup.add(await RecorderBackend.start(answer(OK)));
    const { url } = await open({ backends: [busy.url, backend.url], proxy: { retry: { statuses: [503] } } });
    await ask(url);
    const { server, clients } = await spans(3);
    expect(clients.map((span) => span.attributes['http.response.status_code'])).toEqual([503, 200]);
    expect([...clients.map(statusOf), statusOf(server)]).toEqual([error('503'), UNSET, UNSET]);
  });

  test('a 5xx of a backend is an error on both spans, a 4xx on that of the attempt only', async () => {
    register();
    const { url, backend } = await open();
    for (const [status, ofServer, ofClient] of [
      [404, UNSET, error('404')],
      [500, error('500'), error('500')],
      [302, UNSET, UNSET],
    ] as const) {
      backend.script = answer(`HTTP/1.1 ${status} Some\r\nContent-Length: 0\r\n\r\n`);
      await ask(url);
      const { server, clients } = await spans(2);
      expect([statusOf(server), statusOf(clients[0])]).toEqual([ofServer, ofClient]);
      expect(server.attributes['http.response.status_code']).toBe(status);
      expect(server.attributes).not.toHaveProperty(['expressway.cause']);
      exporter.reset();
      started = 0;
    }
  });

  test('rejections by limiter, circuit and pool have their cause and no attempt span', async () => {
    register();
    const dead = `http://127.0.0.1:${await closedPort()}`;
    const { url, breaker } = await open({
      limit: 2,
      backends: [dead],
      proxy: { circuit: { minimumRequests: 1, openMs: 60_000 } },
    });
    const summary = async (count: number) => {
      const { server, clients } = await spans(count);
      const { attributes } = server;
      exporter.reset();
      started = 0;
      return [
        attributes['http.response.status_code'],
        attributes['expressway.cause'],
        ...statusOf(server),
        clients.length,
      ];
    };
    const isolation = breaker.isolate();
    await ask(url);
    expect(await summary(1)).toEqual([503, 'circuit_open', ...error('circuit_open'), 0]);
    isolation.dispose();
    await ask(url);
    expect(await summary(2)).toEqual([502, 'connection_refused', ...error('connection_refused'), 1]);
    await ask(url);
    expect(await summary(1)).toEqual([429, 'rate_limited', ...UNSET, 0]);
  });

  test('a client that leaves is no error, and the span has no status code', async () => {
    register();
    const { port, backend } = await open({ script: () => {} });
    const socket = dial(port);
    socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await eventually('the backend is asked', () => backend.requests.length === 1);
    expect(exporter.getFinishedSpans()).toEqual([]);
    socket.destroy();
    const { server, clients } = await spans(2);
    for (const span of [server, clients[0]]) {
      expect(statusOf(span)).toEqual(UNSET);
      expect(span?.attributes['expressway.cause']).toBe('client_abort');
      expect(span?.attributes).not.toHaveProperty(['http.response.status_code']);
    }
  });

  test('a truncated response is an error on both spans, with the status that was sent', async () => {
    register();
    const { url } = await open({
      script: (socket) => {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n${'x'.repeat(50_000)}`, () =>
          afterRead(() => socket.resetAndDestroy()),
        );
      },
    });
    await expect(ask(url)).rejects.toThrow();
    const { server, clients } = await spans(2);
    for (const span of [server, clients[0]]) {
      expect(span?.status.code).toBe(api.SpanStatusCode.ERROR);
      expect(span?.attributes['error.type']).toMatch(/^http_response_incomplete$|^connection_terminated$/);
      expect(span?.attributes['http.response.status_code']).toBe(200);
    }
  });

  test('content that exceeds the maximum during an attempt ends both spans', async () => {
    register();
    const { port, backend } = await open({ script: () => {}, proxy: { maxBodyBytes: 10 } });
    const socket = dial(port);
    socket.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n');
    await eventually('the backend is asked', () => backend.requests.length === 1);
    socket.write('a\r\nabcdefghij\r\n0\r\n\r\n');
    const { server, clients } = await spans(2);
    expect(server.attributes).toMatchObject({
      'http.response.status_code': 413,
      'expressway.cause': 'content_too_large',
    });
    expect([statusOf(server), statusOf(clients[0])]).toEqual([UNSET, UNSET]);
    expect(clients[0]?.attributes['expressway.cause']).toBe('content_too_large');
    // The status is the gateway's own: the backend has sent none.
    expect(clients[0]?.attributes).not.toHaveProperty(['http.response.status_code']);
    socket.destroy();
  });

  test.each<[string, string, (socket: Socket) => unknown, number, string]>([
    ['a client that ends its side', 'Content-Length: 9', (socket) => socket.end(), 499, 'client_abort'],
    ['a client that resets', 'Content-Length: 9', (socket) => socket.resetAndDestroy(), 499, 'client_abort'],
    ['a bad chunk', 'Transfer-Encoding: chunked', (socket) => socket.write('bad\n'), 400, 'bad_request'],
  ])('an upload that is broken off by %s has one cause in both spans and the log', async (...row) => {
    const [, framing, breakOff, status, cause] = row;
    register();
    const { port, backend } = await open({ script: () => {}, serverOf: (app) => hardenServer(createServer(app)) });
    const socket = dial(port);
    socket.write(`POST / HTTP/1.1\r\nHost: a\r\n${framing}\r\n\r\n5\r\nab`);
    await eventually('the backend is asked', () => backend.requests.length === 1);
    breakOff(socket);
    const { server, clients } = await spans(2);
    expect([server, clients[0]].map((span) => span?.attributes['expressway.cause'])).toEqual([cause, cause]);
    expect([server, clients[0]].map(statusOf)).toEqual([UNSET, UNSET]);
    await eventually('it is logged', () => lines.length > 0);
    expect(lines).toMatchObject([{ status, cause }]);
    socket.destroy();
  });
});

test('the spans of an upgrade end with the handshake', async () => {
  register();
  const { port, backend } = await open({
    script: (socket) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    },
  });
  const socket = dial(port);
  socket.write('GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
  await once(socket, 'data');
  const { server, clients } = await spans(2);
  expect(lines).toEqual([]);
  for (const span of [server, clients[0]]) {
    expect(span?.attributes['http.response.status_code']).toBe(101);
    expect(statusOf(span)).toEqual(UNSET);
  }
  expect(backend.requests[0]?.field('traceparent')).toBe(traceParentOf(clients[0]));
  socket.destroy();
  await eventually('a line', () => lines.length === 1);
  expect(lines[0]).toMatchObject({ status: 101, traceId: idsOf(server).traceId });
  await spans(2);
});

test('the span of an event stream lasts until it ends', async () => {
  register();
  const { port, backend } = await open({
    script: (socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: 1\n\n');
    },
  });
  const socket = dial(port);
  socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await once(socket, 'data');
  expect(exporter.getFinishedSpans()).toEqual([]);
  for (const connection of backend.connections) connection.end();
  const { server, clients } = await spans(2);
  expect([statusOf(server), statusOf(clients[0])]).toEqual([UNSET, UNSET]);
  socket.destroy();
});

describe('without an OpenTelemetry SDK, or with a failing one', () => {
  const headers = { traceparent: SAMPLED.toUpperCase(), tracestate: 'B AD=1' };

  test.each([
    ['an SDK', {}],
    ['tracing', 'off'],
  ] as const)('%s, the header of the client passes unchanged', async (_what, options) => {
    if (options === 'off') register();
    const { url, backend } = await open({ options, trustProxy: 'loopback' });
    await ask(url, { headers });
    await ask(url, { headers: { traceparent: SAMPLED, tracestate: 'B AD=1' } });
    await ask(url);
    expect(backend.requests.map((request) => [request.field('traceparent'), request.field('tracestate')])).toEqual([
      [headers.traceparent, 'B AD=1'],
      [SAMPLED, 'B AD=1'],
      [undefined, undefined],
    ]);
    await eventually('lines', () => lines.length === 3);
    expect(lines.filter((line) => 'traceId' in line)).toEqual([]);
    expect(started).toBe(0);
  });
});

test('an SDK that is registered later is used from then on', async () => {
  const { url } = await open();
  await ask(url);
  register();
  await ask(url);
  await spans(2);
});

test('an SDK that throws loses spans, but no requests', async () => {
  const warned = jest.spyOn(process, 'emitWarning').mockReturnValue(undefined);
  let asked = 0;
  // The first request's own span, then the attempt of the second one.
  const sampler: Sampler = {
    shouldSample() {
      asked += 1;
      if (asked === 1 || asked === 3) throw new Error('a sampler that fails');
      return { decision: api.SamplingDecision.RECORD_AND_SAMPLED };
    },
  };
  const onEnd = () => {
    throw new Error('a processor that fails');
  };
  register(sampler, [processor({ onEnd })]);
  const { url, backend } = await open();
  expect([(await ask(url)).status, (await ask(url)).status]).toEqual([200, 200]);
  await eventually('lines', () => lines.length === 2);
  expect(lines[1].traceId).toMatch(/^[0-9a-f]{32}$/);
  // The attempt without a span is told of as part of its request.
  expect(backend.requests[1]?.field('traceparent')).toContain(lines[1].traceId);
  expect(warned.mock.calls.map(([message]) => String(message))).toEqual([
    expect.stringContaining('a sampler that fails'),
    expect.stringContaining('a processor that fails'),
  ]);
});

describe('a tracer that throws', () => {
  const broken = (what: string) => () => {
    throw new Error(`${what} fails`);
  };

  /** All requests get through, each thing that fails is told of once, and by name. */
  async function survives(parts: object, others: object = {}): Promise<void> {
    const warned = jest.spyOn(process, 'emitWarning').mockReturnValue(undefined);
    const span = {
      spanContext: () => ({ traceId: TRACE, spanId: PARENT, traceFlags: 1 }),
      isRecording: () => true,
      setAttributes() {},
      addEvent() {},
      setStatus() {},
      end() {},
      ...others,
      ...parts,
    };
    const broke = { ...api, trace: { ...facade(api.trace), getTracer: () => ({ startSpan: () => span }) } };
    const { url } = await open({
      options: { api: broke as never },
      backends: [`http://127.0.0.1:${await closedPort()}`],
    });
    expect([(await ask(url)).status, (await ask(url)).status]).toEqual([502, 502]);
    await eventually('lines', () => lines.length === 2);
    const told = warned.mock.calls.map(([message]) => String(message));
    expect(told).toEqual(Object.keys(parts).map((name) => expect.stringContaining(`${name} fails`)));
  }

  const facade = (trace: typeof api.trace) => ({
    setSpan: trace.setSpan.bind(trace),
    setSpanContext: trace.setSpanContext.bind(trace),
    getSpan: trace.getSpan.bind(trace),
    deleteSpan: trace.deleteSpan.bind(trace),
    getTracerProvider: () => ({}),
  });

  test.each(['setAttributes', 'addEvent', 'setStatus', 'isRecording', 'spanContext', 'end'])(
    'in %s fails no request',
    (name) => survives({ [name]: broken(name) }),
  );

  test('in setAttributes of an attempt span that alone is sampled', async () => {
    let asked = 0;
    const setAttributes = broken('setAttributes');
    // The span of the request is asked by the limiter and at the start of the attempt; then that of the attempt is.
    const isRecording = () => {
      asked += 1;
      return asked % 3 === 0;
    };
    await survives({ setAttributes }, { isRecording });
    expect(asked).toBeGreaterThanOrEqual(6);
  });

  test('in the tracestate', () =>
    survives(
      { serialize: broken('serialize') },
      {
        spanContext: () => ({
          traceId: TRACE,
          spanId: PARENT,
          traceFlags: 1,
          traceState: { serialize: broken('serialize') },
        }),
      },
    ));

  test.each(['before', 'after'])('in the context manager, %s the request was passed on', async (when) => {
    const warned = jest.spyOn(process, 'emitWarning').mockReturnValue(undefined);
    register();
    const context = {
      active: () => api.ROOT_CONTEXT,
      with(_: unknown, run: () => void) {
        if (when === 'after') run();
        throw new Error('with fails');
      },
    };
    const { url } = await open({ options: { api: { ...api, context } as never } });
    expect([(await ask(url)).status, (await ask(url)).status]).toEqual([200, 200]);
    expect(warned.mock.calls.map(([message]) => String(message))).toEqual([expect.stringContaining('with fails')]);
  });

  test.each(['setSpan', 'setSpanContext'])('in %s', async (name) => {
    const warned = jest.spyOn(process, 'emitWarning').mockReturnValue(undefined);
    register();
    const trace = { ...facade(api.trace), getTracer: api.trace.getTracer.bind(api.trace), [name]: broken(name) };
    const { url } = await open({ options: { api: { ...api, trace } as never, trustIncoming: 'all' } });
    const headers = { traceparent: SAMPLED };
    expect([(await ask(url, { headers })).status, (await ask(url, { headers })).status]).toEqual([200, 200]);
    expect(warned.mock.calls.map(([message]) => String(message))).toEqual([expect.stringContaining(`${name} fails`)]);
  });
});

/** A connection that does not outlive its test. */
function dial(port: number): Socket {
  const socket = connect(port, '127.0.0.1');
  cleanup.add({ close: () => socket.destroy() });
  return socket;
}

/** Sends bytes and waits until the gateway has closed. */
async function raw(port: number, bytes: string): Promise<void> {
  const socket = dial(port);
  socket.resume();
  socket.write(bytes);
  await once(socket, 'close');
}
