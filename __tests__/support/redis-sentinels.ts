import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { RedisServer } from './redis.ts';
import { eventually } from './servers.ts';

export const MASTER_NAME = 'mymaster';

/** A master, a replica, and two Sentinels that must agree. */
export class SentinelSet {
  readonly master = new RedisServer();
  readonly replica = new RedisServer();
  readonly sentinels: RedisServer[] = [];

  get url(): string {
    return `redis+sentinel://${this.sentinels.map(({ port }) => `127.0.0.1:${port}`).join(',')}/${MASTER_NAME}`;
  }

  async start(): Promise<void> {
    await Promise.all([this.master.start(), this.replica.start()]);
    await this.replica.command('CONFIG', 'SET', 'repl-diskless-sync-delay', '0');
    await this.master.command('CONFIG', 'SET', 'repl-diskless-sync-delay', '0');
    await this.replica.command('REPLICAOF', '127.0.0.1', `${this.master.port}`);
    const linked = async () => String(await this.replica.command('INFO', 'replication')).includes('link_status:up');
    await eventually('the replica has caught up', linked);
    for (let i = 0; i < 2; i++) {
      this.sentinels.push(new RedisServer({ args: (port, dir) => sentinelArgs(port, dir, this.master.port) }));
    }
    await Promise.all(this.sentinels.map((sentinel) => sentinel.start()));
    const knowing = async (sentinel: RedisServer) => {
      const [replicas, others] = await Promise.all([
        sentinel.command('SENTINEL', 'REPLICAS', MASTER_NAME) as Promise<unknown[]>,
        sentinel.command('SENTINEL', 'SENTINELS', MASTER_NAME) as Promise<unknown[]>,
      ]);
      return replicas.length === 1 && others.length === 1;
    };
    for (const one of this.sentinels) await eventually('the Sentinels know of all', () => knowing(one));
  }

  async stop(): Promise<void> {
    await Promise.all([...this.sentinels, this.master, this.replica].map((one) => one.kill()));
  }
}

function sentinelArgs(port: number, dir: string, master: number): string[] {
  const file = join(dir, 'sentinel.conf');
  writeFileSync(
    file,
    [
      `port ${port}`,
      `sentinel monitor ${MASTER_NAME} 127.0.0.1 ${master} 2`,
      `sentinel down-after-milliseconds ${MASTER_NAME} 800`,
      `sentinel failover-timeout ${MASTER_NAME} 3000`,
      '',
    ].join('\n'),
  );
  return [file, '--sentinel'];
}
