import type { Send } from '../../rate-limit/meter.ts';
import { importRedis } from '../../rate-limit/redis/own-redis-client.ts';
import { RedisUrl } from '../../rate-limit/redis/redis-address.ts';
import { RedisLink } from '../../rate-limit/redis/redis-link.ts';
import { type Check, type Finding, failure, note } from './finding.ts';
import { redisPermissions } from './redis-permissions.ts';
import { redisClock, redisLatency, redisServer } from './redis-server.ts';

/** Milliseconds to connect. A cluster connects to all its nodes. */
const CONNECT_MS = 4_000;
const REPLY_MS = 2_000;

/** Whether limits can be counted in Redis, with the same connection that the gateway would make. */
export const redis: Check = {
  name: 'redis',
  async run({ config: { redisUrl } }) {
    if (redisUrl === undefined)
      return [note('REDIS_URL is empty: each gateway counts by itself, and loses its counts when it stops')];
    const url = new RedisUrl(redisUrl);
    if (url.problem !== undefined) return [failure(`REDIS_URL ${url.problem}`)];
    // So that the deadline is for Redis alone. The link reports a package that is missing.
    await importRedis().catch(() => undefined);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let last: Error | undefined;
    const link = new RedisLink(url, {
      up: resolve,
      down: (error) => {
        last = error;
        // Other nodes of a cluster, or other Sentinels, may still respond.
        if (url.address.shape === 'single') reject(error);
      },
    });
    const timer = setTimeout(() => reject(last ?? new Error(`no connection within ${CONNECT_MS} ms`)), CONNECT_MS);
    try {
      await promise;
      return await look(bounded((args, key) => link.send(args, key)));
    } catch (error) {
      return [unreachable(error as Error)];
    } finally {
      clearTimeout(timer);
      link.close();
    }
  },
};

async function look(send: Send): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const check of [redisLatency, redisClock, redisServer, redisPermissions]) {
    try {
      findings.push(...(await check(send)));
    } catch (error) {
      findings.push(failure(`Redis: ${(error as Error).message}`));
    }
  }
  return findings;
}

/** A command fails if its reply does not come in time. */
const bounded =
  (send: Send): Send =>
  async (args, key) => {
    const { promise: late, reject } = Promise.withResolvers<never>();
    const timer = setTimeout(() => reject(new Error(`no reply to ${args[0]} within ${REPLY_MS} ms`)), REPLY_MS);
    try {
      return await Promise.race([send(args, key), late]);
    } finally {
      clearTimeout(timer);
    }
  };

const LOGIN = 'Correct user and password in REDIS_URL: redis://user:password@host:6379, both percent-encoded';

function unreachable({ message, code, errors }: Error & { code?: string; errors?: readonly Error[] }): Finding {
  const text = message || errors?.map((one) => one.message).join(', ') || String(code);
  const meanwhile = 'Until then each gateway counts as RATE_LIMIT_ON_STORE_ERROR says';
  if (/^(?:NOAUTH|WRONGPASS|NOPERM)|^ERR .*\bAUTH\b|^ERR invalid password/.test(message))
    return failure(`Redis: ${text}`, LOGIN);
  // Replies of Redis begin with a code in capitals, such as "ERR max number of clients reached".
  if (/^[A-Z]+ /.test(message))
    return failure(
      `Redis refuses the connection: ${text}`,
      `Correct that in Redis, or the database number in REDIS_URL. ${meanwhile}`,
    );
  return failure(`Redis: ${text}`, `Start it, or correct REDIS_URL; a Redis with TLS needs rediss://. ${meanwhile}`);
}
