import { setTimeout as sleep } from 'node:timers/promises';
import { createClient } from 'redis';
import { freePort } from '../failover/free-port.ts';
import type { TargetContext } from './target.ts';

const BINARIES = ['redis-server', 'valkey-server'];
const START_MS = 5_000;

/** A Redis of the run's own, on the cores of the load. It is started when the first target asks for it. */
export class RedisServer {
  #url: Promise<string> | undefined;

  url(context: TargetContext): Promise<string> {
    this.#url ??= start(context);
    return this.#url;
  }
}

async function start({ processes, placement }: TargetContext): Promise<string> {
  const port = await freePort();
  const url = `redis://127.0.0.1:${port}`;
  const settings = [
    '--port',
    `${port}`,
    '--bind',
    '127.0.0.1',
    '--save',
    '',
    '--appendonly',
    'no',
    '--loglevel',
    'warning',
  ];
  for (const binary of BINARIES) {
    const child = processes.spawn([binary, ...settings], placement.load);
    let ended = false;
    // taskset, too, ends when there is no such program.
    child.once('error', () => {
      ended = true;
    });
    child.once('close', () => {
      ended = true;
    });
    const end = performance.now() + START_MS;
    while (!ended && performance.now() < end) {
      if (await answers(url)) return url;
      await sleep(20);
    }
    child.kill('SIGKILL');
  }
  throw new Error(`needs ${BINARIES.join(' or ')} on the path`);
}

async function answers(url: string): Promise<boolean> {
  const client = createClient({ url, socket: { reconnectStrategy: false, connectTimeout: 500 } });
  client.on('error', () => {}); // connect() rejects with the same error
  try {
    await client.connect();
    return (await client.ping()) === 'PONG';
  } catch {
    return false;
  } finally {
    if (client.isOpen) client.destroy();
  }
}
