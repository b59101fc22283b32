import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { accepts, closedPort, eventually } from '../support/servers.ts';

/** Another proxy of this machine, in front of a backend of the test's own. */
export interface ReferenceProxy {
  readonly port: number;
  close(): Promise<void>;
}

interface Kind {
  readonly binary: string;
  readonly version: RegExp;
  readonly args: (folder: string) => string[];
  readonly configuration: (port: number, backendPort: number) => string;
}

export const REFERENCES = {
  nginx: {
    binary: 'nginx',
    version: /nginx\/([\d.]+)/,
    args: (folder) => ['-p', `${folder}/`, '-c', 'proxy.conf', '-e', 'stderr'],
    configuration: nginxConfiguration,
  },
  HAProxy: {
    binary: 'haproxy',
    version: /version ([\d.]+)/i,
    args: (folder) => ['-q', '-f', join(folder, 'proxy.conf')],
    configuration: haproxyConfiguration,
  },
} satisfies Record<string, Kind>;

export type ReferenceName = keyof typeof REFERENCES;

/** The version that is on the path, if one is. */
export function versionOf(name: ReferenceName): string | undefined {
  const { binary, version } = REFERENCES[name];
  const { status, stdout, stderr } = spawnSync(binary, ['-v'], { encoding: 'utf8' });
  return status === 0 ? version.exec(`${stdout}${stderr}`)?.[1] : undefined;
}

/** One process, with its own configuration in a folder of its own. */
export async function startReference(name: ReferenceName, backendPort: number): Promise<ReferenceProxy> {
  const { binary, args, configuration } = REFERENCES[name];
  const folder = mkdtempSync(join(tmpdir(), `expressway-${binary}-`));
  const port = await closedPort();
  writeFileSync(join(folder, 'proxy.conf'), configuration(port, backendPort));
  // The shell's standard input ends with the test process, however that ends.
  const script = '"$@" & cat > /dev/null; kill -9 $! 2> /dev/null; wait';
  const keeper = spawn('sh', ['-c', script, 'sh', binary, ...args(folder)], { stdio: ['pipe', 'ignore', 'ignore'] });
  const gone = new Promise<void>((resolve) => keeper.once('exit', () => resolve()));
  await eventually(`${name} listens on port ${port}`, () => accepts(port));
  return {
    port,
    async close() {
      keeper.stdin.end();
      await gone;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function nginxConfiguration(port: number, backendPort: number): string {
  return `daemon off; master_process off; pid nginx.pid; error_log /dev/null;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  upstream backend { server 127.0.0.1:${backendPort}; keepalive 32; }
  server {
    listen 127.0.0.1:${port};
    location /denied { return 403; }
    location / {
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_set_header Host $http_host;
      proxy_set_header Connection "";
    }
  }
}
`;
}

function haproxyConfiguration(port: number, backendPort: number): string {
  return `global
  nbthread 1
  maxconn 256
defaults
  mode http
  timeout connect 2s
  timeout client 5s
  timeout server 5s
frontend in
  bind 127.0.0.1:${port}
  http-request deny if { path_beg /denied }
  default_backend out
backend out
  server one 127.0.0.1:${backendPort}
`;
}
