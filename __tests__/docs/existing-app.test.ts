import { afterEach, describe, expect, test } from '@jest/globals';
import express, { type Express } from 'express';
import { rateLimit } from 'express-rate-limit';
import { ipRateLimit, rateLimitStore, roundRobinProxy } from 'expressway';
import { answer, startBackend } from '../../lib/testing/index.ts';
import { Cleanup } from '../support/gateway.ts';
import { listen } from '../support/servers.ts';

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** An app as there are many: express-rate-limit before its routes, a body parser, a handler, an error handler. */
function existingApp(add: (app: Express) => void = () => {}): Express {
  const app = express();
  add(app);
  app.use('/api', rateLimit({ windowMs: 60_000, limit: 3, standardHeaders: 'draft-6', legacyHeaders: true }));
  app.use(express.json());
  app.post('/api/echo', (req, res) => void res.json(req.body));
  app.get('/api/hello', (_req, res) => void res.send('hello'));
  return app;
}

async function client(app: Express) {
  const { url } = cleanup.add(await listen(app));
  const post = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"a":1}' };
  return { get: (path: string) => fetch(url + path), post: (path: string) => fetch(url + path, post) };
}

const statuses = async (get: (path: string) => Promise<Response>, path: string, count: number) => {
  const all: number[] = [];
  for (let i = 0; i < count; i += 1) all.push((await get(path)).status);
  return all;
};

describe('an app with express-rate-limit', () => {
  test('works as before when a proxy is added before it', async () => {
    const backend = cleanup.add(await startBackend({ otherwise: answer({ content: 'backend' }) }));
    const proxy = cleanup.add(roundRobinProxy({ backends: [backend.url] }));
    const { get, post } = await client(existingApp((app) => app.use('/orders', proxy)));
    expect(await (await post('/orders/1')).text()).toBe('backend');
    expect(backend.requests[0]?.content.toString()).toBe('{"a":1}');
    expect(await (await post('/api/echo')).json()).toEqual({ a: 1 });
    const last = await get('/api/hello');
    expect([
      await last.text(),
      last.headers.get('x-ratelimit-remaining'),
      last.headers.get('ratelimit-remaining'),
    ]).toEqual(['hello', '1', '1']);
    expect(await statuses(get, '/api/hello', 2)).toEqual([200, 429]);
    expect(await statuses(get, '/orders/1', 5)).toEqual([200, 200, 200, 200, 200]);
  });

  test('and ipRateLimit() count independently', async () => {
    const limiter = cleanup.add(ipRateLimit({ name: 'all', limit: 5, windowMs: 60_000 }));
    const { get } = await client(existingApp((app) => app.use(limiter)));
    expect(await statuses(get, '/api/hello', 4)).toEqual([200, 200, 200, 429]);
    const theirs = await get('/api/hello');
    // Theirs said no; ours has counted five, and says so from the next request on.
    expect([theirs.status, theirs.headers.get('content-type')]).toEqual([429, expect.stringContaining('text/html')]);
    const ours = await get('/api/hello');
    expect([ours.status, ours.headers.get('content-type')]).toEqual([
      429,
      expect.stringContaining('application/problem+json'),
    ]);
  });

  test('counts with our store when it is given one', async () => {
    const store = rateLimitStore({ name: 'orders' });
    const app = express().use(rateLimit({ windowMs: 60_000, limit: 2, standardHeaders: 'draft-8', store }));
    app.get('/', (_req, res) => void res.send('ok'));
    const { get } = await client(existingApp((outer) => outer.use('/inner', app)));
    expect(await statuses(get, '/inner', 3)).toEqual([200, 200, 429]);
    expect(store.mode).toBe('memory');
    expect(await statuses(get, '/api/hello', 4)).toEqual([200, 200, 200, 429]);
    store.close();
  });
});
