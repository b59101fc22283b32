import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { binaryVersion } from '../harness/binary-version.ts';
import { nginxCommand } from '../harness/nginx-command.ts';
import { SystemServer } from '../harness/system-server.ts';
import { freePort } from './free-port.ts';
import type { Gateway, GatewayContext, RunningGateway } from './gateway.ts';
import { CONNECTIONS, REST_MS, TIMEOUT_MS } from './settings.ts';

const REST = `max_fails=1 fail_timeout=${REST_MS / 1000}s`;
const SECONDS = `${TIMEOUT_MS / 1000}s`;

/** nginx with the next backend for a failed request, as the documentation of `proxy_next_upstream` recommends. */
export class Nginx implements Gateway {
  readonly name = 'nginx';
  readonly title = `nginx, proxy_next_upstream error timeout, ${REST}, upstream keepalive`;

  missing(): string | undefined {
    return binaryVersion('nginx') === undefined ? 'no nginx on the path' : undefined;
  }

  async start({ processes, placement, folder, backends }: GatewayContext): Promise<RunningGateway> {
    const port = await freePort();
    const command = nginxCommand({
      folder: mkdtempSync(join(folder, 'nginx-')),
      port,
      backends,
      parameters: REST,
      idleConnections: CONNECTIONS,
      requestsPerConnection: 100_000,
      directives: [
        `proxy_connect_timeout ${SECONDS}`,
        `proxy_send_timeout ${SECONDS}`,
        `proxy_read_timeout ${SECONDS}`,
        'proxy_next_upstream error timeout',
      ],
    });
    return SystemServer.start({ name: this.name, command, port, cpus: placement.gateway }, processes);
  }
}
