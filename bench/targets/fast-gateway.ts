import type { Server } from 'node:http';
import gateway from 'fast-gateway';
import { announceTarget, backendOrigins } from '../harness/target-side.ts';

// Bare: one route, as in its README. Its proxy handler is the place that it offers for choosing among backends.

const origins = backendOrigins();
let cursor = 0;

const service = gateway({
  routes: [
    {
      prefix: '',
      target: origins[0] as string,
      proxyHandler: (req: unknown, res: unknown, url: unknown, proxy: (...args: unknown[]) => void, options: object) =>
        proxy(req, res, url, { ...options, base: origins[cursor++ % origins.length] }),
    },
  ],
});

announceTarget((await service.start(0, '127.0.0.1')) as Server);
