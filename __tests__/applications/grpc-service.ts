import express from 'express';
import type { IpRateLimitOptions, RoundRobinProxyOptions } from 'expressway';
import { circuitBreaker, hardenServer, http2Server, ipRateLimit, roundRobinProxy } from 'expressway';
import { certificate } from '../support/certificate.ts';
import type { Cleanup } from '../support/gateway.ts';
import { listen } from '../support/servers.ts';
import { installed } from './installed.ts';

// The types of the package are not known where it is not installed.
// biome-ignore lint/suspicious/noExplicitAny: see above.
type Untyped = any;

const same = (bytes: Buffer): Buffer => bytes;
const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/test.Test/${name}`,
  requestStream,
  responseStream,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
});

/** A service with one method of each kind. Messages are text. */
const SERVICE = {
  unary: method('unary', false, false),
  serverStream: method('serverStream', false, true),
  clientStream: method('clientStream', true, false),
  bidi: method('bidi', true, true),
};

/** How a call ended. */
export interface Ended {
  readonly code: number;
  readonly details: string;
  readonly messages: readonly string[];
  readonly trailers: Record<string, unknown>;
}

export type Handlers = Partial<Record<keyof typeof SERVICE, (call: Untyped, done: Untyped) => void>>;

/** A backend of gRPC that says its name, and what it was called with. */
export async function grpcBackend(cleanup: Cleanup, name: string, handlers: Handlers = {}, address = '127.0.0.1:0') {
  const grpc = installed('@grpc/grpc-js');
  const server = new grpc.Server();
  const calls: string[] = [];
  server.addService(SERVICE, {
    unary: (call: Untyped, done: Untyped) => {
      const trailers = new grpc.Metadata();
      trailers.set('x-trailer', 'kept');
      done(null, Buffer.from(`${name} ${call.request}`), trailers);
    },
    serverStream: (call: Untyped) => {
      for (let i = 0; i < Number(String(call.request)); i += 1) call.write(Buffer.from(`${name} ${i}`));
      call.end();
    },
    clientStream: (call: Untyped, done: Untyped) => {
      let bytes = 0;
      call.on('data', (message: Buffer) => {
        bytes += message.length;
      });
      call.on('end', () => done(null, Buffer.from(String(bytes))));
    },
    bidi: (call: Untyped) => {
      call.on('data', (message: Buffer) => call.write(message));
      call.on('end', () => call.end());
    },
    ...Object.fromEntries(
      Object.entries(handlers).map(([key, handler]) => [
        key,
        (call: Untyped, done: Untyped) => {
          calls.push(key);
          handler(call, done);
        },
      ]),
    ),
  });
  const port = await new Promise<number>((resolve, reject) => {
    const bound = (error: Error | null, at: number) => (error === null ? resolve(at) : reject(error));
    server.bindAsync(address, grpc.ServerCredentials.createInsecure(), bound);
  });
  cleanup.add({ close: () => server.forceShutdown() });
  return { server, port, url: `http://127.0.0.1:${port}`, calls };
}

/** Limiter, circuit breaker and proxy in front of these backends, and a client of gRPC that calls them. */
export async function grpcGateway(
  cleanup: Cleanup,
  options: RoundRobinProxyOptions,
  limits: Partial<IpRateLimitOptions> = {},
  minimumRequests = 1_000,
) {
  const grpc = installed('@grpc/grpc-js');
  const proxy = roundRobinProxy({ protocol: 'http2', ...options });
  const breaker = circuitBreaker({ minimumRequests });
  const app = express();
  app.use(ipRateLimit({ limit: 10_000, windowMs: 60_000, ...limits }), breaker, proxy);
  const server = hardenServer(http2Server(app, { tls: certificate }));
  const { port } = cleanup.add(await listen(app, server));
  cleanup.add({ close: () => proxy.close() });
  const Client = grpc.makeGenericClientConstructor(SERVICE, 'Test');
  const client = new Client(`localhost:${port}`, grpc.credentials.createSsl(Buffer.from(certificate.cert)));
  cleanup.add(client);
  return { proxy, breaker, client, ...callsOf(grpc, client) };
}

/** The client's methods, as functions that resolve with the end of the call. */
function callsOf(grpc: Untyped, client: Untyped) {
  const ended = (start: (done: (error: Untyped, message?: Buffer) => void) => Untyped): Promise<Ended> =>
    new Promise((resolve) => {
      const messages: string[] = [];
      const call = start((_error, message) => {
        if (message !== undefined) messages.push(String(message));
      });
      call.on('data', (message: Buffer) => messages.push(String(message)));
      call.on('error', () => {});
      call.on('status', ({ code, details, metadata }: Untyped) =>
        setImmediate(resolve, { code, details, messages, trailers: metadata.getMap() }),
      );
    });
  return {
    ended,
    unary: (message: string, deadlineMs = 30_000): Promise<Ended> =>
      ended((done) =>
        client.unary(Buffer.from(message), new grpc.Metadata(), { deadline: Date.now() + deadlineMs }, done),
      ),
  };
}
