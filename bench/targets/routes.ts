import { createServer } from 'node:http';
import express from 'express';
import { serviceRouter } from '../../lib/index.ts';
import { backendOrigins, serveTarget } from '../harness/target-side.ts';

// The first argument is the number of routes, the others are the backends.

const [count = '', ...backends] = backendOrigins();

/** The load asks for a path that only the last route takes, below all prefixes that are longer. */
const others = Array.from({ length: Number(count) - 1 }, (_, index) => ({
  hostnames: index % 3 === 0 ? [`host-${index}.example.com`, `*.zone-${index}.example.com`] : [],
  path: `/v${index % 10}/things/${index}`,
  service: 'all',
}));

const app = express();
app.disable('x-powered-by');
app.use(
  serviceRouter({
    services: { all: { backends } },
    routes: [
      ...others.map(({ hostnames, ...route }) => (hostnames.length === 0 ? route : { ...route, hostnames })),
      { path: '/', service: 'all' },
    ],
  }),
);

await serveTarget(createServer(app));
