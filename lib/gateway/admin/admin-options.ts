import type { Config } from '../config/config.ts';
import type { Logger } from '../logging/logger.ts';
import type { App } from '../standard-app.ts';
import type { AdminOptions } from './admin-server.ts';
import { shownConfig } from './shown-config.ts';

/**
 * What the admin listener of one gateway process shows and does.
 *
 * @param config What is in force.
 */
export function adminOptions(config: () => Config, { limiter, proxy, observer }: App, log: Logger): AdminOptions {
  const { register, feed } = observer;
  const { admin } = config();
  const host = admin?.host ?? '';
  if (feed === undefined) return { register, host };
  return {
    register,
    host,
    site: {
      feed,
      token: admin?.token,
      config: () => shownConfig(config()),
      log,
      control: {
        drain: (backend) => proxy.drain(backend),
        isolate: (backend) => proxy.isolate(backend),
        restore: (backend) => proxy.restore(backend),
        async resetLimit(client) {
          // Forgotten on the page even when Redis could not be told: this process has forgotten the client.
          feed.forgetClient(client);
          await limiter.resetKey(client);
        },
      },
    },
  };
}
