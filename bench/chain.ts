/**
 * CPU time of a request in the suite's own code and in Node's HTTP messages, without the kernel, Node's parser and undici:
 * `node --conditions=expressway-source bench/chain.ts [folder of another working tree]`.
 */
import type { EventEmitter } from 'node:events';
import { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { resolve } from 'node:path';
import { Duplex } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import express from 'express';
import { Registry } from 'prom-client';
import type { Dispatcher } from 'undici';

const root = resolve(process.argv[2] ?? `${import.meta.dirname}/..`);
const lib = (await import(`${root}/lib/index.ts`)) as typeof import('../lib/index.ts');
const { LogOutput } = (await import(
  `${root}/lib/gateway/logging/log-output.ts`
)) as typeof import('../lib/gateway/logging/log-output.ts');
const { Client } = (await import(
  `${root}/lib/proxy/transport/undici.ts`
)) as typeof import('../lib/proxy/transport/undici.ts');

/** Requests at a time, and turns of so many requests: to warm up, and for each measurement. */
const AT_A_TIME = 32;
const WARMUP_TURNS = 1_500;
const TURNS = 60;
const MEASUREMENTS = 40;

const RESPONSE = ['Content-Type', 'application/json', 'Content-Length', '130', 'Connection', 'keep-alive'];
const CONTENT = Buffer.alloc(130, '{}');
const REQUEST = [
  'Host',
  'localhost:8080',
  'User-Agent',
  'expressway-bench',
  'Accept',
  'application/json',
  'x-nonce',
  '1',
];

/** Requests that wait for their responses. */
let sent: { readonly handler: Dispatcher.DispatchHandler; readonly connection: InstanceType<typeof Client> }[] = [];
Client.prototype.dispatch = function takeOver(_options, handler) {
  sent.push({ handler, connection: this });
  return false;
};
Object.defineProperty(Client.prototype, 'stats', { value: { size: 1, connected: true } });

function respond(): void {
  const requests = sent;
  sent = [];
  for (const { handler, connection } of requests) {
    const controller = { rawHeaders: RESPONSE.map((text) => Buffer.from(text)), rawTrailers: [], abort() {} };
    const given = controller as unknown as Dispatcher.DispatchController;
    const headers: Record<string, string> = {};
    for (let i = 0; i < RESPONSE.length; i += 2) headers[RESPONSE[i]?.toLowerCase() ?? ''] = RESPONSE[i + 1] ?? '';
    handler.onRequestStart?.(given, undefined);
    handler.onRequestSent?.();
    handler.onResponseStarted?.();
    handler.onResponseStart?.(given, 200, headers, 'OK');
    handler.onResponseData?.(given, CONTENT);
    handler.onResponseEnd?.(given, {});
    (connection as EventEmitter).emit('drain');
  }
}

/** A client's connection, which takes all bytes at once. */
class Connection extends Duplex {
  readonly remoteAddress = '127.0.0.1';
  readonly bytesRead = 0;
  readonly bytesWritten = 0;

  override _read(): void {}

  override _write(_chunk: unknown, _encoding: unknown, done: () => void): void {
    done();
  }
}

const events = new lib.GatewayEvents();
const limiter = lib.ipRateLimit({ limit: 1e9, windowMs: 60_000, events });
const breaker = lib.circuitBreaker({ events });
const proxy = lib.roundRobinProxy({ backends: ['http://127.0.0.1:1', 'http://127.0.0.1:2'], events });
const parts = { events, limiters: [limiter], breakers: [breaker], proxies: [proxy] };
const metrics = lib.prometheusMetrics({ register: new Registry(), ...parts });
const accessLog = lib.accessLog({ to: new LogOutput('/dev/null'), base: { level: 'info' } });

const app = express();
app.disable('x-powered-by');
app.use(lib.compose(lib.observability({ metrics, accessLog }), lib.requestGuard({ events }), limiter, breaker, proxy));
const { IncomingMessage: Request = IncomingMessage, ServerResponse: Response = ServerResponse } =
  lib.expressServerOptions(app);
const listener = lib.expressListener(app);

function request(connection: Connection): void {
  const socket = connection as unknown as Socket;
  const req = new Request(socket);
  const message = { url: '/api/items', method: 'GET', httpVersion: '1.1', httpVersionMajor: 1, httpVersionMinor: 1 };
  Object.assign(req, message, { rawHeaders: REQUEST.slice(), headers: headersOf(REQUEST) });
  const res = new Response(req);
  res.shouldKeepAlive = true;
  res.assignSocket(socket);
  res.once('finish', () => {
    res.detachSocket(socket);
    process.nextTick(() => res.emit('close'));
  });
  listener(req, res);
  req.complete = true;
}

function headersOf(lines: readonly string[]): Record<string, string> {
  const headers: Record<string, string> = {};
  for (let i = 0; i < lines.length; i += 2) headers[lines[i]?.toLowerCase() ?? ''] = lines[i + 1] ?? '';
  return headers;
}

const connections = Array.from({ length: AT_A_TIME }, () => new Connection({ decodeStrings: false }));

/** @returns nanoseconds per request. */
async function measure(turns: number): Promise<number> {
  const before = process.cpuUsage();
  for (let turn = 0; turn < turns; turn += 1) {
    for (const connection of connections) request(connection);
    await nextTurn();
    respond();
    await nextTurn();
    await nextTurn();
  }
  const { user, system } = process.cpuUsage(before);
  return (1_000 * (user + system)) / turns / AT_A_TIME;
}

await measure(WARMUP_TURNS);
const times: number[] = [];
for (let i = 0; i < MEASUREMENTS; i += 1) times.push(await measure(TURNS));
times.sort((a, b) => a - b);
const shown = [0, MEASUREMENTS / 4, MEASUREMENTS / 2].map((at) => ((times[at] as number) / 1_000).toFixed(2));
process.stdout.write(`${root}: least ${shown[0]}, quartile ${shown[1]}, median ${shown[2]} µs per request\n`);
process.exit();
