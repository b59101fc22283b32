import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface NginxPlan {
  /** An empty folder of its own: nothing of the machine's installation is read or written. */
  readonly folder: string;
  /** Where it listens, on loopback. */
  readonly port: number;
  /** Origins of the backends. */
  readonly backends: readonly string[];
  /** Parameters of each backend. */
  readonly parameters?: string;
  /** Connections to backends that may idle. */
  readonly idleConnections: number;
  /** Requests after which a connection is closed, on either side. */
  readonly requestsPerConnection: number;
  /** Further directives of the only location. */
  readonly directives?: readonly string[];
}

/**
 * Writes the configuration of an nginx with kept connections to its backends, as
 * https://nginx.org/en/docs/http/ngx_http_upstream_module.html#keepalive shows. One process without a master, which would
 * leave its workers behind when killed.
 *
 * @returns the command that runs it.
 */
export function nginxCommand(plan: NginxPlan): string[] {
  const { folder, port, backends, parameters, idleConnections, requestsPerConnection, directives = [] } = plan;
  const servers = backends.map((origin) =>
    ['server', new URL(origin).host, ...(parameters === undefined ? [] : [parameters])].join(' '),
  );
  const location = [
    'proxy_pass http://backends',
    'proxy_http_version 1.1',
    'proxy_set_header Connection ""',
    'proxy_set_header X-Forwarded-For $remote_addr',
    ...directives,
  ];
  mkdirSync(join(folder, 'temp'));
  writeFileSync(
    join(folder, 'nginx.conf'),
    `
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
  keepalive_requests ${requestsPerConnection};
  upstream backends {
    ${servers.map((one) => `${one};`).join('\n    ')}
    keepalive ${idleConnections};
    keepalive_requests ${requestsPerConnection};
  }
  server {
    listen 127.0.0.1:${port};
    location / {
      ${location.map((one) => `${one};`).join('\n      ')}
    }
  }
}
`,
  );
  return ['nginx', '-p', `${folder}/`, '-c', 'nginx.conf', '-e', 'stderr'];
}
