import type { Config } from '../config/config.ts';
import type { HostedApp } from '../hosted-app.ts';
import type { Logger } from '../logging/logger.ts';
import type { Observer } from '../observing/observe.ts';
import type { AdminOptions } from './admin-server.ts';
import { shownConfig } from './shown-config.ts';

/**
 * What the admin listener of one gateway process shows and does.
 *
 * @param config What is in force.
 */
export function adminOptions(
  config: () => Config,
  { limiter, proxy }: HostedApp,
  { register, feed }: Observer,
  log: Logger,
): AdminOptions {
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
        drain: (backend) => proxy?.drain(backend) ?? false,
        isolate: (backend) => proxy?.isolate(backend) ?? false,
        restore: (backend) => proxy?.restore(backend) ?? false,
        async resetLimit(client) {
          // Forgotten on the page even when Redis could not be told: this process has forgotten the client.
          feed.forgetClient(client);
          await limiter?.resetKey(client);
        },
      },
    },
  };
}
