import type { LimiterStore, ModeListener } from './limiter-store.ts';
import { MemoryWindows } from './memory-windows.ts';
import type { RedisClient } from './redis-client.ts';
import type { RedisUrl } from './redis-url.ts';
import { RedisWindows } from './redis-windows.ts';
import { ResilientStore } from './resilient-store.ts';

export interface LimiterStoreSettings {
  /** Without it, hits are counted in this process. */
  readonly redis?: RedisClient | RedisUrl | undefined;
  /** What the keys in Redis start with. */
  readonly prefix: string;
  /** Milliseconds that one call of Redis may take. */
  readonly storeTimeoutMs: number;
}

/** The one place that knows which stores there are. */
export function openLimiterStore(settings: LimiterStoreSettings, onModeChange: ModeListener): LimiterStore {
  const { redis, prefix, storeTimeoutMs } = settings;
  if (redis === undefined) return new MemoryWindows();
  return new ResilientStore({
    redis,
    timeoutMs: storeTimeoutMs,
    local: new MemoryWindows(),
    openShared: (send, windowMs) => new RedisWindows(send, prefix, windowMs),
    onModeChange,
  });
}
