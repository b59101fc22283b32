import type { Config } from '../config/config.ts';
import { type HostedApp, proxiesOf } from '../hosted-app.ts';
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
  hosted: HostedApp,
  { register, feed }: Observer,
  log: Logger,
): AdminOptions {
  const { admin } = config();
  const host = admin?.host ?? '';
  return {
    register,
    host,
    site: {
      feed,
      token: admin?.token,
      name: admin?.name ?? '',
      config: () => shownConfig(config()),
      log,
      control: {
        operate: ({ operation, backend, proxy: name }) =>
          proxiesOf(hosted)
            .filter((proxy) => (name === undefined || proxy.name === name) && proxy[operation](backend))
            .map((proxy) => proxy.name),
        async resetLimit(client) {
          // Forgotten on the page even when Redis could not be told: this process has forgotten the client.
          feed.forgetClient(client);
          await Promise.all([hosted.limiter?.resetKey(client), hosted.router?.resetKey(client)]);
        },
      },
    },
  };
}
