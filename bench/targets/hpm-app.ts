import { Agent } from 'node:http';
import { circuitBreaker, handleAll, isBrokenCircuitError, SamplingBreaker } from 'cockatiel';
import express, { type Express, type NextFunction, type Request, type RequestHandler, type Response } from 'express';
import { rateLimit } from 'express-rate-limit';
import { createProxyMiddleware } from 'http-proxy-middleware';

/**
 * What one gets from the three READMEs: the obvious assembly, without tricks in either direction.
 *
 * @param before Middlewares before the limiter.
 */
export function hpmApp(origins: readonly string[], ...before: readonly RequestHandler[]): Express {
  const app = express();
  app.disable('x-powered-by');
  for (const middleware of before) app.use(middleware);

  // draft-7 although the README shows draft-8: that one hashes the key on every request and would cost this peer more.
  app.use(rateLimit({ windowMs: 60_000, limit: 1e9, standardHeaders: 'draft-7', legacyHeaders: false }));

  const breaker = circuitBreaker(handleAll, {
    halfOpenAfter: 10_000,
    breaker: new SamplingBreaker({ threshold: 0.6, duration: 10_000, minimumRps: 1 }),
  });

  app.use((_req: Request, res: Response, next: NextFunction) => {
    breaker
      .execute(
        () =>
          new Promise<void>((resolve, reject) => {
            res.once('finish', () => (res.statusCode >= 500 ? reject(new Error('bad answer')) : resolve()));
            res.once('close', resolve);
            next();
          }),
      )
      .catch((error: unknown) => {
        if (isBrokenCircuitError(error) && !res.headersSent) res.status(503).end();
      });
  });

  let cursor = 0;
  app.use(
    createProxyMiddleware<Request, Response>({
      target: origins[0] as string,
      router: () => origins[cursor++ % origins.length] as string,
      changeOrigin: true,
      xfwd: true,
      // The usual advice; its own default would keep connections alive too, but queue beyond 256 of them.
      agent: new Agent({ keepAlive: true }),
    }),
  );
  return app;
}
