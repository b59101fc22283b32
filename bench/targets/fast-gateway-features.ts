import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2SecureServer } from 'node:http2';
import { rateLimit } from 'express-rate-limit';
import gateway from 'fast-gateway';
import CircuitBreaker from 'opossum';
import { accessLog, durations } from './http-parts.ts';

type ProxyCall = [
  req: IncomingMessage & { ip?: string | undefined },
  res: ServerResponse,
  url: string,
  proxy: (...args: unknown[]) => void,
  options: object,
];

/** fast-gateway with a limiter, a breaker, metrics and an access log in `file`. Limiter and breaker are as its demos show. */
export function featuredGateway(file: string, origins: readonly string[], server?: Http2SecureServer) {
  let cursor = 0;

  // Without its timeout, which would be a timer per request, and without percentiles, which nobody reads.
  const breaker = new CircuitBreaker(
    ([req, res, url, proxy, options]: ProxyCall) =>
      new Promise<void>((resolve, reject) => {
        res.once('finish', () => (res.statusCode >= 500 ? reject(new Error('bad answer')) : resolve()));
        res.once('close', resolve);
        proxy(req, res, url, { ...options, base: origins[cursor++ % origins.length] });
      }),
    { timeout: false, errorThresholdPercentage: 60, resetTimeout: 10_000, rollingPercentilesEnabled: false },
  );
  breaker.fallback(([, res]: ProxyCall, error: { code?: string }) => {
    if (error.code === 'EOPENBREAKER') res.writeHead(503).end();
  });

  return gateway({
    ...(server === undefined ? {} : { restana: { server } }),
    middlewares: [
      accessLog(file),
      durations('/'),
      (req: ProxyCall[0], _res: ServerResponse, next: () => void) => {
        req.ip = req.socket.remoteAddress;
        next();
      },
      // restana has no `trust proxy` to check.
      rateLimit({
        windowMs: 60_000,
        limit: 1e9,
        standardHeaders: 'draft-7',
        legacyHeaders: false,
        validate: { trustProxy: false },
      }),
    ],
    routes: [
      { prefix: '', target: origins[0] as string, proxyHandler: (...call: ProxyCall) => void breaker.fire(call) },
    ],
  } as never);
}
