import { IP_RATE_LIMIT_DEFAULTS } from '../../rate-limit/ip-rate-limit-options.ts';
import type { Send } from '../../rate-limit/meter.ts';
import { type Finding, failure, note, ok, warning } from './finding.ts';

/** The first version in which a script may write after it has read the clock. */
const LEAST_VERSION = 5;

/** Version, role and eviction policy of the server. */
export async function redisServer(send: Send): Promise<Finding[]> {
  let info: ReadonlyMap<string, string>;
  try {
    info = read(String(await send(['INFO'])));
  } catch (error) {
    return [note(`Redis does not report its version and eviction policy: ${(error as Error).message}`)];
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

const PINGS = 9;
/** Milliseconds. While Redis is away, local counts use this machine's clock for their windows. */
const MOST_SKEW_MS = 1_000;

/** Median time of a command. */
export async function redisLatency(send: Send): Promise<Finding[]> {
  const times: number[] = [];
  for (let i = 0; i < PINGS; i++) {
    const startedAt = performance.now();
    await send(['PING']);
    times.push(performance.now() - startedAt);
  }
  const { storeTimeoutMs } = IP_RATE_LIMIT_DEFAULTS;
  const median = times.sort((a, b) => a - b)[PINGS >> 1] as number;
  const what = `Redis replies in ${median.toFixed(1)} ms`;
  const fix = 'Bring Redis nearer to the gateway';
  if (median > storeTimeoutMs) {
    return [
      failure(
        `${what}: later than the ${storeTimeoutMs} ms that a request waits for it, so limits are not shared`,
        fix,
      ),
    ];
  }
  // Then half of the timeout is over before Redis has done anything.
  return median > storeTimeoutMs / 2
    ? [warning(`${what}, and a request waits at most ${storeTimeoutMs} ms for it`, fix)]
    : [ok(what)];
}

/** Difference between Redis's clock, which limits use, and this machine's clock. */
export async function redisClock(send: Send): Promise<Finding[]> {
  const before = Date.now();
  const [seconds, micros] = (await send(['TIME'])) as [string, string];
  const skewMs = Math.round(Number(seconds) * 1_000 + Number(micros) / 1_000 - (before + Date.now()) / 2);
  const what = `the clock of Redis is ${Math.abs(skewMs)} ms ${skewMs < 0 ? 'behind' : 'ahead of'} this machine's`;
  if (Math.abs(skewMs) <= MOST_SKEW_MS) return [ok(what)];
  return [
    warning(
      `${what}; limits use the clock of Redis, and this one while Redis does not respond`,
      'Synchronise both by NTP',
    ),
  ];
}
