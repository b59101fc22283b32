import type { Algorithm } from './algorithm.ts';
import { slidingWindowScript, tokenBucketScript } from './algorithm-scripts.ts';
import type { LimiterMeter, ModeListener } from './limiter-meter.ts';
import type { LuaScript } from './lua.ts';
import { MemoryMeter } from './memory-meter.ts';
import { MemoryWindows } from './memory-windows.ts';
import type { Quota } from './quota.ts';
import type { RedisClient } from './redis-client.ts';
import { RedisMeter } from './redis-meter.ts';
import type { RedisUrl } from './redis-url.ts';
import { RedisWindows } from './redis-windows.ts';
import { ResilientMeter } from './resilient-meter.ts';
import type { Send, SharedMeter } from './shared-meter.ts';
import { slidingWindow } from './sliding-window.ts';
import { tokenBucket } from './token-bucket.ts';

export type AlgorithmName = 'sliding-window' | 'fixed-window' | 'token-bucket';

export const ALGORITHM_NAMES: readonly AlgorithmName[] = ['sliding-window', 'fixed-window', 'token-bucket'];

export interface LimiterMeterSettings {
  readonly algorithm: AlgorithmName;
  /** One only for fixed windows. */
  readonly quotas: readonly Quota[];
  /** Of the limiter, for a warning. */
  readonly name: string;
  /** The most clients that this process tells apart; not for fixed windows. */
  readonly maxKeys: number;
  /** Without it, this process counts alone. */
  readonly redis?: RedisClient | RedisUrl | undefined;
  /** What the keys in Redis start with. */
  readonly prefix: string;
  /** Turns keys into HMACs before they go to Redis; not for fixed windows. */
  readonly keySecret?: string | undefined;
  /** Milliseconds that one call of Redis may take. */
  readonly storeTimeoutMs: number;
}

/** The one place that knows which meters there are. */
export function openLimiterMeter(settings: LimiterMeterSettings, onModeChange: ModeListener): LimiterMeter {
  const { redis, storeTimeoutMs } = settings;
  const local = localMeter(settings);
  if (redis === undefined) return local;
  const openShared = (send: Send) => sharedMeter(settings, send);
  return new ResilientMeter({ redis, timeoutMs: storeTimeoutMs, local, openShared, onModeChange });
}

const OWN: Readonly<Record<string, { algorithm: Algorithm; script: LuaScript; letter: string }>> = Object.freeze({
  'sliding-window': { algorithm: slidingWindow, script: slidingWindowScript, letter: 's' },
  'token-bucket': { algorithm: tokenBucket, script: tokenBucketScript, letter: 'b' },
});

function localMeter({ algorithm, quotas, maxKeys, name }: LimiterMeterSettings): LimiterMeter {
  const own = OWN[algorithm];
  if (own === undefined) return new MemoryWindows(quotas[0] as Quota);
  const onFull = (): void =>
    process.emitWarning(
      `The rate limiter "${name}" counts for ${maxKeys} clients (maxKeys): until some are forgotten, new ones share their limits.`,
      { type: 'ExpresswayRateLimitWarning' },
    );
  return new MemoryMeter({ algorithm: own.algorithm, quotas, maxKeys, onFull });
}

function sharedMeter({ algorithm, quotas, prefix, keySecret }: LimiterMeterSettings, send: Send): SharedMeter {
  const own = OWN[algorithm];
  if (own === undefined) return new RedisWindows(send, prefix, quotas[0] as Quota);
  return new RedisMeter({ send, script: own.script, letter: own.letter, quotas, prefix, keySecret });
}
