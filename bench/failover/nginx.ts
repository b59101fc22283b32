import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { binaryVersion } from '../harness/binary-version.ts';
import { SystemServer } from '../harness/system-server.ts';
import { freePort } from './free-port.ts';
import type { Gateway, GatewayContext, RunningGateway } from './gateway.ts';
import { CONNECTIONS, REST_MS, TIMEOUT_MS } from './settings.ts';

/** nginx with its own configuration, in a folder of its own: nothing of the machine's installation is read or written. */
export class Nginx implements Gateway {
  readonly name = 'nginx';
  readonly title =
    `nginx, proxy_next_upstream error timeout, max_fails=1 fail_timeout=${REST_MS / 1000}s, upstream keepalive`;

  missing(): string | undefined {
    return binaryVersion('nginx') === undefined ? 'no nginx on the path' : undefined;
  }

  async start({ processes, placement, folder, backends }: GatewayContext): Promise<RunningGateway> {
    const prefix = mkdtempSync(join(folder, 'nginx-'));
    mkdirSync(join(prefix, 'temp'));
    const port = await freePort();
    writeFileSync(join(prefix, 'nginx.conf'), configuration(port, backends));
    const command = ['nginx', '-p', `${prefix}/`, '-c', 'nginx.conf', '-e', 'stderr'];
    return SystemServer.start({ name: this.name, command, port, cpus: placement.gateway }, processes);
  }
}

/**
 * As https://nginx.org/en/docs/http/ngx_http_upstream_module.html#keepalive and the documentation of
 * `proxy_next_upstream` recommend. One process without a master, which would leave its workers behind when killed.
 */
function configuration(port: number, backends: readonly string[]): string {
  const seconds = `${TIMEOUT_MS / 1000}s`;
  const servers = backends
    .map((origin) => `server ${new URL(origin).host} max_fails=1 fail_timeout=${REST_MS / 1000}s;`)
    .join('\n    ');
  return `
daemon off;
master_process off;
worker_processes 1;
pid nginx.pid;
error_log stderr crit;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path temp/client;
  proxy_temp_path temp/proxy;
  fastcgi_temp_path temp/fastcgi;
  uwsgi_temp_path temp/uwsgi;
  scgi_temp_path temp/scgi;
  keepalive_requests 100000;
  upstream backends {
    ${servers}
    keepalive ${CONNECTIONS};
    keepalive_requests 100000;
  }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://backends;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_connect_timeout ${seconds};
      proxy_send_timeout ${seconds};
      proxy_read_timeout ${seconds};
      proxy_next_upstream error timeout;
    }
  }
}
`;
}
