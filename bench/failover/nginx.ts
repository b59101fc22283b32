import { type ChildProcess, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from './free-port.ts';
import type { Gateway, GatewayContext, RunningGateway } from './gateway.ts';
import { CONNECTIONS, REST_MS, TIMEOUT_MS } from './settings.ts';

const START_MS = 5_000;
const POLL_MS = 20;
const STDERR_KEPT = 2_000;

/** nginx with its own configuration, in a folder of its own: nothing of the machine's installation is read or written. */
export class Nginx implements Gateway {
  readonly name = 'nginx';
  readonly title =
    `nginx, proxy_next_upstream error timeout, max_fails=1 fail_timeout=${REST_MS / 1000}s, upstream keepalive`;

  missing(): string | undefined {
    return spawnSync('nginx', ['-v']).status === 0 ? undefined : 'no nginx on the path';
  }

  async start({ processes, placement, folder, backends }: GatewayContext): Promise<RunningGateway> {
    const prefix = mkdtempSync(join(folder, 'nginx-'));
    mkdirSync(join(prefix, 'temp'));
    const port = await freePort();
    writeFileSync(join(prefix, 'nginx.conf'), configuration(port, backends));
    const command = ['nginx', '-p', `${prefix}/`, '-c', 'nginx.conf', '-e', 'stderr'];
    const child = processes.spawn(command, placement.gateway);
    const said = lastWords(child);
    const ended = once(child, 'close');
    try {
      await accepting(port, child, said);
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
    const stop = async () => {
      if (hasEnded(child)) throw new Error(`nginx ended by itself: ${said()}`);
      child.kill('SIGTERM');
      await ended;
    };
    return { port, stop };
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

function lastWords(child: ChildProcess): () => string {
  let text = '';
  child.stdout?.resume();
  child.stderr?.setEncoding('utf8').on('data', (more: string) => {
    text = (text + more).slice(-STDERR_KEPT);
  });
  return () => text.trim();
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

async function accepting(port: number, child: ChildProcess, said: () => string): Promise<void> {
  const giveUpAt = performance.now() + START_MS;
  while (performance.now() < giveUpAt && !hasEnded(child)) {
    const socket = connect(port, '127.0.0.1');
    const accepted = await once(socket, 'connect').then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (accepted) return;
    await sleep(POLL_MS);
  }
  throw new Error(`nginx did not start: ${said()}`);
}
