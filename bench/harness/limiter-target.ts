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

  async start(context: TargetContext): Promise<RunningNodeTarget> {
    const script = new URL('../targets/limiter.ts', import.meta.url);
    const url = this.#redis === undefined ? [] : [await this.#redis.url(context)];
    const child = context.processes.start({
      name: this.name,
      script,
      args: [this.name, ...url],
      cpus: context.placement.gateway,
    });
    try {
      return new RunningNodeTarget(child, (await child.ready<{ port: number }>()).port);
    } catch (error) {
      child.kill();
      throw error;
    }
  }
}
