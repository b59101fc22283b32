import cluster from 'node:cluster';
import { warn, warnOnceOf } from '../core/warnings.ts';
import { AlgorithmScripts } from './algorithms/algorithm-scripts.ts';
import { ALGORITHMS, type AlgorithmName } from './algorithms/registry.ts';
import { CountedMeter } from './cluster/counted-meter.ts';
import type { CounterLink } from './cluster/counter-question.ts';
import { CounterMeter, CounterStore } from './cluster/counter-store.ts';
import { Debts } from './fallback/debts.ts';
import { DenialCache, RememberingMeter } from './fallback/denial-cache.ts';
import type { Fallback, OnStoreError } from './fallback/fallback.ts';
import { ClosedFallback, LocalFallback, OpenFallback } from './fallback/fallback.ts';
import { Overspending } from './fallback/overspending.ts';
import { ResilientMeter } from './fallback/resilient-meter.ts';
import type { MissRule } from './fallback/store-breaker.ts';
import { FrontMeter } from './front-meter.ts';
import { GroupingMeter } from './leases/grouping-meter.ts';
import { LeasingMeter } from './leases/leasing-meter.ts';
import type { LeaseOptions } from './leases/leasing-store.ts';
import { LeasingStore, leaseShare } from './leases/leasing-store.ts';
import { LeaseTable } from './leases/leasing-table.ts';
import { MemoryMeter } from './memory/memory-meter.ts';
import type { LimiterMeter, ModeListener, Send, SharedMeter } from './meter.ts';
import type { Quota } from './quota.ts';
import type { RedisUrl } from './redis/redis-address.ts';
import type { RedisClient } from './redis/redis-client.ts';
import { RedisMeter } from './redis/redis-meter.ts';

export interface LimiterMeterSettings {
  readonly algorithm: AlgorithmName;
  /** Fixed windows have only one. */
  readonly quotas: readonly Quota[];
  /** Name of the limiter, for warnings. */
  readonly name: string;
  /** The most clients that this process counts separately. */
  readonly maxKeys: number;
  /** `undefined`: this process counts alone. */
  readonly redis?: RedisClient | RedisUrl | undefined;
  /** Link to a process of this machine that counts. Not with `redis`. */
  readonly counter?: CounterLink | undefined;
  /** Prefix of the keys in Redis. */
  readonly prefix: string;
  /** Secret for HMACs of the keys in Redis. Not for fixed windows. */
  readonly keySecret?: string | undefined;
  /** Deadline of one call of Redis, in milliseconds. */
  readonly storeTimeoutMs: number;
  readonly fallbackAfterMisses: number;
  readonly fallbackAfterMs: number;
  /** What happens to requests while Redis fails. */
  readonly onStoreError: OnStoreError;
  /** Not for fixed windows. */
  readonly lease?: boolean | LeaseOptions | undefined;
}

/** Chooses the meters for the settings of a limiter, and puts them together. */
export function openLimiterMeter(settings: LimiterMeterSettings, onModeChange: ModeListener): LimiterMeter {
  const { redis, prefix, storeTimeoutMs: timeoutMs } = settings;
  if (settings.counter !== undefined) return countedMeter(settings, settings.counter, onModeChange);
  if (redis === undefined) {
    tellOfCluster(settings.name);
    return memoryMeter(settings);
  }
  const fallback = fallbackOf(settings);
  // A new shared meter is made after each failure of Redis. These two stay.
  const denials = new DenialCache();
  const leases = leaseTable(settings);
  const openShared = (send: Send) => sharedMeter(settings, send, denials, leases);
  const meter = new ResilientMeter({
    redis,
    prefix,
    timeoutMs,
    missRule: missRuleOf(settings),
    fallback,
    openShared,
    onModeChange,
  });
  return new FrontMeter(meter, denials, leases);
}

function tellOfCluster(name: string): void {
  if (cluster.worker === undefined) return;
  warnOnceOf(
    cluster.worker,
    'WARN_EXPRESSWAY_LIMITER_CLUSTER',
    `The rate limiter "${name}" counts in the memory of one cluster worker: with n workers, a client may make n times as many ` +
      'requests. Share the counts by redis, or by counter.',
    `limiter ${name}`,
  );
}

function countedMeter(settings: LimiterMeterSettings, link: CounterLink, onModeChange: ModeListener): LimiterMeter {
  const { name, algorithm, quotas, maxKeys, lease, storeTimeoutMs: timeoutMs } = settings;
  const denials = new DenialCache();
  const leases = leaseTable(settings);
  const store = new CounterStore(link, { name, algorithm, quotas, maxKeys, share: leaseShare(lease) });
  const shared =
    leases === undefined
      ? new RememberingMeter(new GroupingMeter({ store, single: new CounterMeter(store) }), denials)
      : new LeasingMeter({ store, leases, denials });
  const fallback = fallbackOf(settings);
  fallback.shareWith(link.processes);
  return new FrontMeter(
    new CountedMeter({ store, shared, timeoutMs, missRule: missRuleOf(settings), fallback, onModeChange }),
    denials,
    leases,
    'memory',
  );
}

const missRuleOf = ({ fallbackAfterMisses, fallbackAfterMs }: LimiterMeterSettings): MissRule => ({
  misses: fallbackAfterMisses,
  forMs: fallbackAfterMs,
});

function fallbackOf(settings: LimiterMeterSettings): Fallback {
  if (settings.onStoreError === 'open') return new OpenFallback();
  if (settings.onStoreError === 'closed') return new ClosedFallback();
  const algorithm = ALGORITHMS[settings.algorithm];
  const overspending = algorithm.countsRefused === true ? undefined : new Overspending(algorithm, settings.quotas);
  return new LocalFallback(memoryMeter(settings), new Debts(algorithm, settings.quotas), overspending);
}

/** Counts in this process. */
export function memoryMeter({
  algorithm,
  quotas,
  maxKeys,
  name,
}: Pick<LimiterMeterSettings, 'algorithm' | 'quotas' | 'maxKeys' | 'name'>): MemoryMeter {
  const onFull = (): void =>
    warn(
      'WARN_EXPRESSWAY_MAX_KEYS',
      `The rate limiter "${name}" counts for ${maxKeys} clients (maxKeys): until some are forgotten, new ones share their limits.`,
    );
  return new MemoryMeter({ algorithm: ALGORITHMS[algorithm], quotas, maxKeys, onFull });
}

function sharedMeter(
  { algorithm, quotas, prefix, keySecret, lease }: LimiterMeterSettings,
  send: Send,
  denials: DenialCache,
  leases: LeaseTable | undefined,
): SharedMeter {
  const { redis } = ALGORITHMS[algorithm];
  if (!(redis instanceof AlgorithmScripts))
    return new RememberingMeter(redis(send, prefix, quotas[0] as Quota), denials);
  const parts = { send, scripts: redis, quotas, prefix, keySecret };
  const store = new LeasingStore(parts, leaseShare(lease));
  if (leases !== undefined) return new LeasingMeter({ store, leases, denials });
  return new RememberingMeter(new GroupingMeter({ store, single: new RedisMeter(parts) }), denials);
}

/** A lease of a token bucket expires as fast as the bucket refills; a lease of a window expires with the window. */
function leaseTable({ algorithm, quotas, lease }: LimiterMeterSettings): LeaseTable | undefined {
  if (lease === undefined || lease === false) return undefined;
  if (!ALGORITHMS[algorithm].isRefilled) return new LeaseTable(() => undefined);
  return new LeaseTable((own) => Math.max(...quotas.map(({ limit, windowMs }) => (own ?? limit) / windowMs)));
}
