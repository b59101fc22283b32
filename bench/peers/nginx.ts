import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { SystemSetUp } from '../harness/system-target.ts';

/**
 * Kept connections to the backends as https://nginx.org/en/docs/http/ngx_http_upstream_module.html#keepalive shows. One process
 * without a master, which would leave its workers behind when killed.
 */
export const nginx: SystemSetUp = ({ folder, port, backends }) => {
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
  keepalive_requests 1000000;
  upstream backends {
    ${backends.map((origin) => `server ${new URL(origin).host};`).join('\n    ')}
    keepalive 256;
    keepalive_requests 1000000;
  }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://backends;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $remote_addr;
    }
  }
}
`,
  );
  return { command: ['nginx', '-p', `${folder}/`, '-c', 'nginx.conf', '-e', 'stderr'] };
};
