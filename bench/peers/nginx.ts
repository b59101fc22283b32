import { nginxCommand } from '../harness/nginx-command.ts';
import type { SystemSetUp } from '../harness/system-target.ts';

export const nginx: SystemSetUp = (ground) => ({
  command: nginxCommand({ ...ground, idleConnections: 256, requestsPerConnection: 1_000_000 }),
});
