import { createServer } from 'node:http';
import express from 'express';
import { type LoadBalancing, roundRobinProxy } from '../../lib/index.ts';
import { NONCE_FIELD } from '../harness/answer.ts';
import { backendOrigins, serveTarget } from '../harness/target-side.ts';

// The first argument is the policy, the others are the backends.

const [policy = '', ...origins] = backendOrigins();

/** What takes more than a name. Each request has a key of its own, and no client has a cookie yet. */
const OPTIONS: Readonly<Record<string, LoadBalancing>> = {
  hash: { policy: 'hash', by: { header: NONCE_FIELD } },
  sticky: { policy: 'sticky', secret: 'a secret that nobody needs to keep' },
};

const app = express();
app.disable('x-powered-by');
app.use(
  roundRobinProxy({
    // Equal weights would be the easier case for some.
    backends: origins.map((url, index) => ({ url, weight: policy === 'weighted' ? 1 + (index % 10) : 1 })),
    loadBalancing: OPTIONS[policy] ?? (policy as LoadBalancing),
  }),
);

await serveTarget(createServer(app));
