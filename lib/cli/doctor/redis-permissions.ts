import { randomUUID } from 'node:crypto';
import { IP_RATE_LIMIT_DEFAULTS } from '../../rate-limit/ip-rate-limit-options.ts';
import type { Send } from '../../rate-limit/meter.ts';
import { LuaScript } from '../../rate-limit/redis/lua.ts';
import { type Finding, failure, ok } from './finding.ts';

/** A script that runs the commands of the limiter's scripts on two keys of its own, and returns those that failed. */
const script = new LuaScript(`
local failed = {}
local function try(name, ...)
  local reply = redis.pcall(name, ...)
  if type(reply) == 'table' and reply.err then failed[#failed + 1] = name .. ': ' .. reply.err end
end
try('TIME')
try('SET', KEYS[1], '1', 'PX', '1000')
try('GET', KEYS[1])
try('INCR', KEYS[1])
try('PTTL', KEYS[1])
try('ZADD', KEYS[2], '1', 'doctor')
try('PEXPIRE', KEYS[2], '1000')
try('ZREMRANGEBYSCORE', KEYS[2], '-inf', '0')
try('ZCARD', KEYS[2])
return failed
`);

/** Whether scripts run, and whether this login has the permissions that the limiter needs. It tries them under the limiter's prefix. */
export async function redisPermissions(send: Send): Promise<Finding[]> {
  const { keyPrefix, name } = IP_RATE_LIMIT_DEFAULTS;
  const prefix = `${keyPrefix}${name}:`;
  // The braces put both keys on one node of a cluster. No key of a client looks like this.
  const key = `${prefix}{doctor-${randomUUID()}}`;
  const set = `${key}z`;
  const failed: string[] = [];
  const attempt = async (what: string, work: () => Promise<unknown>): Promise<unknown> => {
    try {
      return await work();
    } catch (error) {
      failed.push(`${what}: ${(error as Error).message}`);
      return undefined;
    }
  };
  await attempt('SCRIPT LOAD', () => script.load(send));
  const refused = await attempt('EVALSHA', () => script.run(send, [key, set], []));
  if (Array.isArray(refused)) failed.push(...refused.map(String));
  await attempt('EVAL', () => send(['EVAL', 'return 1', '1', key], key));
  await attempt('ZREM', () => send(['ZREM', set, 'doctor'], key));
  await attempt('DEL', () => send(['DEL', key], key));
  if (failed.length === 0)
    return [ok(`scripts run, and this login has all permissions that the limiter needs on ${prefix}*`)];
  return failed.map((one) => failure(`Redis refuses ${one}`, fixOf(one, prefix)));
}

function fixOf(problem: string, prefix: string): string {
  if (/READONLY/.test(problem)) return 'Name the primary in REDIS_URL';
  if (/OOM/.test(problem)) return 'Its memory is full: give it more';
  if (!/NOPERM|permission|ACL|can't run this command/i.test(problem)) return 'Look at the log of Redis';
  return (
    `Give the login what it needs: ACL SETUSER <user> ~${prefix}* +evalsha +eval +script|load +del +zrem +ping +get +set ` +
    '+time +pttl +incr +zadd +zremrangebyscore +zcard +pexpire (and +cluster|slots for a cluster)'
  );
}
