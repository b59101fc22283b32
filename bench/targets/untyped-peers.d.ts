// Packages of bench/package.json, of which `npm run check` knows no types where they are not installed. Only what we use.
declare module 'express-http-proxy' {
  import type { RequestHandler } from 'express';
  export default function httpProxy(host: string, options: { parseReqBody: boolean }): RequestHandler;
}

declare module 'fast-gateway' {
  interface Service {
    start(port: number, host: string): Promise<import('node:http').Server>;
  }
  export default function gateway(options: { middlewares?: readonly unknown[]; routes: readonly object[] }): Service;
}

declare module 'opossum' {
  export default class CircuitBreaker<Call> {
    constructor(action: (call: Call) => Promise<void>, options: object);
    fallback(rejected: (call: Call, error: { code?: string }) => void): void;
    fire(call: Call): Promise<void>;
  }
}

declare module 'pino-http' {
  import type { IncomingMessage, ServerResponse } from 'node:http';

  interface Options {
    readonly serializers: {
      req(req: IncomingMessage & { readonly id: unknown }): object;
      res(res: ServerResponse): object;
    };
    readonly wrapSerializers: boolean;
  }
  export default function pinoHttp(
    options: Options,
    stream: object,
  ): (req: IncomingMessage, res: ServerResponse, next: () => void) => void;
}

declare module '@fastify/http-proxy' {
  const plugin: object;
  export default plugin;
}

declare module '@fastify/circuit-breaker' {
  const plugin: object;
  export default plugin;
}

declare module '@fastify/rate-limit' {
  const plugin: object;
  export default plugin;
}

declare module 'fastify-metrics' {
  const plugin: object;
  export default plugin;
}

declare module 'fastify' {
  interface Request {
    readonly log: { info(fields: object, message: string): void };
  }
  interface Reply {
    readonly elapsedTime: number;
  }
  interface App {
    readonly server: import('node:http').Server;
    /** By @fastify/circuit-breaker. */
    circuitBreaker(): object;
    addHook(name: 'onResponse', hook: (req: Request, reply: Reply, done: () => void) => void): void;
    register(plugin: object, options: object): Promise<void>;
    listen(options: { port: number; host: string }): Promise<string>;
  }
  export class LogController {
    constructor(options: { disableRequestLogging: boolean });
  }
  export function fastify(options?: object): App;
  export default fastify;
}

declare module 'rate-limiter-flexible' {
  interface Options {
    readonly points: number;
    readonly duration: number;
    readonly keyPrefix: string;
  }
  export class RateLimiterRes {
    readonly remainingPoints: number;
    readonly msBeforeNext: number;
  }
  export class RateLimiterMemory {
    constructor(options: Options);
    consume(key: string): Promise<RateLimiterRes>;
  }
  export class RateLimiterRedis extends RateLimiterMemory {
    constructor(options: Options & { storeClient: unknown; useRedisPackage: boolean; inMemoryBlockOnConsumed: number });
  }
}

declare module '@stryker-mutator/instrumenter' {
  interface File {
    readonly name: string;
    readonly content: string;
    readonly mutate: boolean;
  }
  interface Mutant {
    readonly id: string;
    readonly fileName: string;
    readonly mutatorName: string;
    readonly replacement: string;
    readonly location: Record<'start' | 'end', { readonly line: number; readonly column: number }>;
  }
  export class Instrumenter {
    constructor(logger: object);
    instrument(
      files: readonly File[],
      options: object,
    ): Promise<{ files: readonly File[]; mutants: readonly Mutant[] }>;
  }
}
