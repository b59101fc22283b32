import type { Config } from '../config/config.ts';
import { type HostedApp, proxiesOf } from '../hosted-app.ts';
import type { Logger } from '../logging/logger.ts';
import type { Observer } from '../observing/observe.ts';
import type { AdminOptions } from './admin-server.ts';
import { shownConfig } from './shown-config.ts';

/**
 * Options of the admin listener of one gateway process.
 *
 * @param config Gives the configuration in force.
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
        operate: ({ operation, backend, service: name }) =>
          proxiesOf(hosted)
            .filter((proxy) => (name === undefined || proxy.name === name) && proxy[operation](backend))
            .map((proxy) => proxy.name),
        async resetLimit(client) {
          // Removed from the page even if Redis cannot be reached, because this process has reset the client.
          feed.forgetClient(client);
          await Promise.all([hosted.limiter?.resetKey(client), hosted.router?.resetKey(client)]);
        },
      },
    },
  };
}
