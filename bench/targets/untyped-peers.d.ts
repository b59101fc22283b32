// Packages of bench/package.json, of which `npm run check` knows no types where they are not installed. Only what we use.
declare module 'express-http-proxy' {
  import type { RequestHandler } from 'express';
  export default function httpProxy(host: string, options: { parseReqBody: boolean }): RequestHandler;
}

declare module 'fast-gateway' {
  interface Service {
    start(port: number, host: string): Promise<import('node:http').Server>;
  }
  export default function gateway(options: { routes: readonly object[] }): Service;
}

declare module '@fastify/http-proxy' {
  const plugin: object;
  export default plugin;
}

declare module 'fastify' {
  interface App {
    readonly server: import('node:http').Server;
    register(plugin: object, options: object): Promise<void>;
    listen(options: { port: number; host: string }): Promise<string>;
  }
  export default function fastify(): App;
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
