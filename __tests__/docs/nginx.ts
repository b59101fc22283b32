import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { accepts, closedPort, eventually } from '../support/servers.ts';

/** Starts nginx with a configuration of the documentation, on a free port in place of 80. */
export async function startNginx(configuration: string) {
  const port = await closedPort();
  const folder = mkdtempSync(join(tmpdir(), 'expressway-nginx-'));
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${name};`);
  const own = 'daemon off; master_process off; pid nginx.pid; error_log /dev/null;\n';
  const text = configuration
    .replace('listen 80;', `listen 127.0.0.1:${port};`)
    .replace('http {', `http {\naccess_log off; ${paths.join(' ')}`);
  writeFileSync(join(folder, 'nginx.conf'), own + text);
  const nginx = spawn('nginx', ['-p', `${folder}/`, '-c', 'nginx.conf', '-e', 'stderr'], { stdio: 'ignore' });
  const gone = once(nginx, 'exit');
  const close = async (): Promise<void> => {
    nginx.kill('SIGKILL');
    await gone;
    rmSync(folder, { recursive: true, force: true });
  };
  await eventually('nginx listens', () => accepts(port));
  return { port, close };
}
