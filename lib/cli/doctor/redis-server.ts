import type { Send } from '../../rate-limit/meter.ts';
import { type Finding, failure, note, ok, warning } from './check.ts';

/** The first in which a script may write after it has read the clock. */
const LEAST_VERSION = 5;

/** What the server says of itself: version, role, and what it forgets when its memory is full. */
export async function redisServer(send: Send): Promise<Finding[]> {
  let info: ReadonlyMap<string, string>;
  try {
    info = read(String(await send(['INFO'])));
  } catch (error) {
    return [note(`Redis does not tell its version and eviction policy: ${(error as Error).message}`)];
  }
  const version = info.get('valkey_version') ?? info.get('redis_version') ?? '?';
  const findings = [
    Number.parseInt(version, 10) < LEAST_VERSION
      ? failure(`Redis ${version} is too old for the scripts`, `Use Redis ${LEAST_VERSION} or newer, or Valkey`)
      : ok(`${info.has('valkey_version') ? 'Valkey' : 'Redis'} ${version}`),
  ];
  if (info.get('role') === 'slave') {
    findings.push(
      failure('it is a replica, which takes no writes', 'Name the primary in REDIS_URL, or use redis+sentinel://'),
    );
  }
  return [...findings, eviction(info)];
}

function eviction(info: ReadonlyMap<string, string>): Finding {
  const policy = info.get('maxmemory_policy') ?? '?';
  if (info.get('maxmemory') === '0') return ok('it has no maxmemory, so it forgets no client early');
  if (policy === 'noeviction') return ok('maxmemory-policy noeviction: it forgets no client early');
  return warning(
    `maxmemory-policy ${policy}: with its memory full, Redis forgets counts, and those clients begin anew`,
    'Give the limits a Redis of their own with maxmemory-policy noeviction and enough memory: about 200 bytes per client',
  );
}

/** Lines of `name:value`. */
function read(info: string): ReadonlyMap<string, string> {
  const pairs = info.split(/\r?\n/).map((line) => /^([a-z_]+):(.*)$/.exec(line));
  return new Map(pairs.filter((pair) => pair !== null).map(([, name = '', value = '']) => [name, value]));
}
