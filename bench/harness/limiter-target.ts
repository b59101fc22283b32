import { peers } from './peers.ts';
import type { RedisServer } from './redis-server.ts';
import { RunningNodeTarget, type Target, type TargetContext } from './target.ts';

/** `targets/limiter.ts` with one of its limiters. */
export class LimiterTarget implements Target {
  readonly name: string;
  readonly title: string;
  readonly refuses: boolean;
  readonly #redis: RedisServer | undefined;

  /**
   * @param name A limiter of `targets/limiter.ts`; with `429-` before it, everything is over the limit.
   * @param redis Where it counts, if it does so in Redis.
   */
  constructor(name: string, title: string, redis?: RedisServer) {
    this.name = name;
    this.title = title;
    this.refuses = name.startsWith('429-');
    this.#redis = redis;
  }

  missing(): string | undefined {
    return /^(429-)?rlf/.test(this.name) ? peers.missing() : undefined;
  }

  async start(context: TargetContext): Promise<RunningNodeTarget> {
    const url = this.#redis === undefined ? [] : [await this.#redis.url(context)];
    return RunningNodeTarget.start(context, { name: this.name, script: 'limiter', args: [this.name, ...url] });
  }
}
