import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { SystemGround, SystemSetUp } from '../harness/system-target.ts';

/** Connections that may idle per backend: Caddy's 32 would be too few for 64 clients, and it would connect anew all the time. */
const IDLE_CONNECTIONS = 256;

/** `reverse_proxy` with turns, one operating-system thread at a time for Go code. No access log, no metrics, no admin endpoint. */
export const caddy: SystemSetUp = (ground) => setUp(ground, '', '');

/** The same with metrics, and an access log in JSON. They are not sampled and not scraped. */
export const caddyFull: SystemSetUp = (ground) =>
  setUp(
    ground,
    'servers {\n    metrics\n  }',
    `log {\n    output file ${join(ground.folder, 'access.log')}\n    format json\n  }`,
  );

function setUp({ folder, port, backends }: SystemGround, ofAll: string, ofSite: string): ReturnType<SystemSetUp> {
  const file = join(folder, 'Caddyfile');
  writeFileSync(
    file,
    `
{
  admin off
  auto_https off
  ${ofAll}
}
http://127.0.0.1:${port} {
  bind 127.0.0.1
  ${ofSite}
  reverse_proxy ${backends.map((origin) => new URL(origin).host).join(' ')} {
    lb_policy round_robin
    transport http {
      keepalive_idle_conns_per_host ${IDLE_CONNECTIONS}
    }
  }
}
`,
  );
  const env = { GOMAXPROCS: '1', HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder };
  return { command: ['caddy', 'run', '--config', file, '--adapter', 'caddyfile'], env };
}
