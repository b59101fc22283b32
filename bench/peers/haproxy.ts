import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { SystemSetUp } from '../harness/system-target.ts';

/** One thread; kept connections on both sides are its default. No log, no health checks. */
export const haproxy: SystemSetUp = ({ folder, port, backends }) => {
  const file = join(folder, 'haproxy.cfg');
  const servers = backends.map((origin, index) => `  server b${index + 1} ${new URL(origin).host}`);
  writeFileSync(
    file,
    `
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  option forwardfor
  http-reuse always
  timeout connect 2s
  timeout client 60s
  timeout server 60s
frontend clients
  bind 127.0.0.1:${port}
  default_backend backends
backend backends
  balance roundrobin
${servers.join('\n')}
`,
  );
  return { command: ['haproxy', '-f', file, '-db'] };
};
