import { createServer } from 'node:http';
import express, { type RequestHandler } from 'express';
import { roundRobinProxy, serviceRouter } from '../../lib/index.ts';
import { serveParent, usage } from '../harness/child-side.ts';
import { backendOrigins } from '../harness/target-side.ts';

// One process with several handlers, of which one is in use. The arguments are the backends.

const backends = backendOrigins();

/** The load asks for a path that only the last route takes, below all prefixes that are longer. */
function router(count: number): RequestHandler {
  const others = Array.from({ length: count - 1 }, (_, index) => {
    const hostnames = [`host-${index}.example.com`, `*.zone-${index}.example.com`];
    return {
      ...(index % 3 === 0 && { hostnames }),
      path: `/v${index % 10}/things/${index}`,
      service: 'all',
    };
  });
  return serviceRouter({ services: { all: { backends } }, routes: [...others, { path: '/', service: 'all' }] });
}

const handlers: Readonly<Record<string, RequestHandler>> = {
  proxy: roundRobinProxy({ backends }),
  '1': router(1),
  '1000': router(1_000),
};

let current = handlers.proxy as RequestHandler;
let requests = 0;
const app = express();
app.disable('x-powered-by');
app.use((req, res, next) => {
  requests += 1;
  return current(req, res, next);
});
const server = createServer(app);
server.keepAliveTimeout = 65_000;
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as { port: number };
  serveParent(
    { port },
    {
      use: (name: string) => {
        current = handlers[name] as RequestHandler;
      },
      count: () => ({ ...usage(), requests }),
    },
  );
});
