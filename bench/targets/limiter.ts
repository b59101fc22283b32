import { createServer } from 'node:http';
import express, { type RequestHandler } from 'express';
import { rateLimit } from 'express-rate-limit';
import { type RedisReply, RedisStore } from 'rate-limit-redis';
import type { RateLimiterRes as RateLimiterState } from 'rate-limiter-flexible';
import { createClient } from 'redis';
import { type IpRateLimitOptions, ipRateLimit } from '../../lib/index.ts';
import { answerFor, NONCE_FIELD } from '../harness/answer.ts';
import { serveTarget } from '../harness/target-side.ts';

// Express that answers by itself, behind the limiter that the first argument names; the second one is the Redis, if any.
// With `429-` before the name, one request per hour may pass.

const [given = '', url] = process.argv.slice(2);
const refuses = given.startsWith('429-');
const name = refuses ? given.slice(4) : given;

const windowMs = refuses ? 3_600_000 : 60_000;
const limit = refuses ? 1 : 1e9;
const MANY = 10_000;
/** Leases of at most 20 requests, as those of a limit of some hundreds are. */
const lease = { share: 2e-8 };

/** The clients take turns. */
const manyClients = (): IpRateLimitOptions => {
  let count = 0;
  return { key: () => `client-${count++ % MANY}` };
};

async function connectedClient() {
  const client = createClient({ url: url as string });
  client.on('error', (error) => process.emitWarning(error));
  await client.connect();
  return client;
}

const ours = (options: IpRateLimitOptions): RequestHandler =>
  ipRateLimit({ limit, windowMs, redis: url, keyPrefix: `${given}:`, ...options }) as RequestHandler;

async function expressRateLimit(): Promise<RequestHandler> {
  const client = url === undefined ? undefined : await connectedClient();
  const sendCommand = (...args: string[]) =>
    (client as NonNullable<typeof client>).sendCommand(args) as Promise<RedisReply>;
  const store = client === undefined ? {} : { store: new RedisStore({ prefix: `${given}:`, sendCommand }) };
  // The draft-8 fields of its README hash on each request and would make it slower.
  return rateLimit({ limit, windowMs, standardHeaders: 'draft-7', legacyHeaders: false, ...store });
}

/** As its README shows, fields included. */
async function flexible(): Promise<RequestHandler> {
  const { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } = await import('rate-limiter-flexible');
  const options = { points: limit, duration: windowMs / 1000, keyPrefix: given };
  const limiter =
    url === undefined
      ? new RateLimiterMemory(options)
      : new RateLimiterRedis({
          ...options,
          storeClient: await connectedClient(),
          useRedisPackage: true,
          // What its README recommends against attacks: a client over the limit is refused out of memory.
          inMemoryBlockOnConsumed: limit,
        });
  return async (req, res, next) => {
    const tell = (state: RateLimiterState): void => {
      res.setHeader('X-RateLimit-Limit', limit);
      res.setHeader('X-RateLimit-Remaining', state.remainingPoints);
      res.setHeader('X-RateLimit-Reset', Math.ceil((Date.now() + state.msBeforeNext) / 1000));
    };
    try {
      tell(await limiter.consume(req.ip as string));
    } catch (refused) {
      if (!(refused instanceof RateLimiterRes)) {
        next(refused);
        return;
      }
      tell(refused);
      res.setHeader('Retry-After', Math.ceil(refused.msBeforeNext / 1000));
      res.status(429).send('Too Many Requests');
      return;
    }
    next();
  };
}

const LIMITERS: Readonly<Record<string, () => RequestHandler | Promise<RequestHandler>>> = {
  memory: () => ours({}),
  'memory-many': () => ours(manyClients()),
  redis: () => ours({}),
  'redis-many': () => ours(manyClients()),
  leases: () => ours({ lease }),
  'leases-many': () => ours({ lease, ...manyClients() }),
  erl: expressRateLimit,
  'erl-redis': expressRateLimit,
  rlf: flexible,
  'rlf-redis': flexible,
};

const limiter = LIMITERS[name];
if (limiter === undefined) throw new Error(`no limiter "${name}"; there are ${Object.keys(LIMITERS).join(', ')}`);

const app = express();
app.disable('x-powered-by');
app.use(await limiter());
app.use((req, res) => {
  res.type('json').end(answerFor(req.get(NONCE_FIELD) ?? ''));
});

await serveTarget(createServer(app));
