import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe, test } from '@jest/globals';
import { createClient } from 'redis';
import { closedPort, eventually } from './servers.ts';

/** What is particular to a Redis. */
export interface RedisServerParts {
  /** More arguments, made when its port and its folder are known. */
  readonly args?: (port: number, dir: string) => string[];
  /** Where it answers to tests; without it, at `redis://` and its port. */
  readonly url?: (port: number) => string;
  /** What it shows as a server. */
  readonly ca?: string;
}

/** A Redis of the test's own, on a free port. Signals go to its own process only. */
export class RedisServer {
  port = 0;
  #pid = 0;
  #dir = '';
  #keeper: ChildProcess | undefined;
  readonly #parts: RedisServerParts;

  constructor(parts: RedisServerParts = {}) {
    this.#parts = parts;
  }

  get url(): string {
    return this.#parts.url?.(this.port) ?? `redis://127.0.0.1:${this.port}`;
  }

  /** Starts it, on the port that it had before if it ran before. */
  async start(): Promise<void> {
    if (this.port === 0) await this.reserve();
    this.#dir = mkdtempSync(join(tmpdir(), 'expressway-redis-'));
    const { args } = this.#parts;
    const usual = ['--port', `${this.port}`, '--save', '', '--appendonly', 'no'];
    const options = [...(args?.(this.port, this.#dir) ?? usual), '--bind', '127.0.0.1'];
    const files = ['--dir', this.#dir, '--logfile', join(this.#dir, 'redis.log')];
    // Jest gives tests no exit event. The shell's standard input ends with the test process, however that ends.
    const script = '"$@" & echo $!; cat > /dev/null; kill -9 $! 2> /dev/null';
    const keeper = spawn('sh', ['-c', script, 'sh', BINARY as string, ...options, ...files], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#keeper = keeper;
    const [pid] = (await once(keeper.stdout, 'data')) as [Buffer];
    this.#pid = Number(pid.toString());
    const ready = async () => String(await this.command('INFO', 'server')).includes(`process_id:${this.#pid}`);
    await eventually(`Redis answers on port ${this.port}`, ready);
  }

  /** Finds a free port without starting, for tests that begin without Redis. */
  async reserve(): Promise<void> {
    this.port = await closedPort();
  }

  /** SIGKILL, as the kernel's out-of-memory killer does it. */
  async kill(): Promise<void> {
    const keeper = this.#keeper;
    if (keeper === undefined) return;
    this.#keeper = undefined;
    process.kill(this.#pid, 'SIGKILL');
    const gone = once(keeper, 'exit');
    keeper.stdin?.end();
    await gone;
    rmSync(this.#dir, { recursive: true, force: true });
  }

  /** SIGSTOP: connections stay open, and nothing answers. */
  pause(): void {
    process.kill(this.#pid, 'SIGSTOP');
  }

  /** SIGCONT */
  resume(): void {
    process.kill(this.#pid, 'SIGCONT');
  }

  async restart(): Promise<void> {
    await this.kill();
    await this.start();
  }

  async flush(): Promise<void> {
    await this.command('FLUSHALL');
  }

  /** Sends one command over a connection of its own. */
  command(...args: string[]): Promise<unknown> {
    return sendTo(this.url, this.#parts.ca, args);
  }
}

export function redisCommand(url: string, ...args: string[]): Promise<unknown> {
  return sendTo(url, undefined, args);
}

async function sendTo(url: string, ca: string | undefined, args: string[]): Promise<unknown> {
  const tls = ca === undefined ? {} : { tls: true as const, ca };
  const client = createClient({ url, socket: { reconnectStrategy: false, connectTimeout: 30_000, ...tls } });
  client.on('error', () => {}); // connect() rejects with the same error
  await client.connect();
  try {
    return await client.sendCommand(args);
  } finally {
    client.destroy();
  }
}

const BINARY = ['redis-server', 'valkey-server']
  .flatMap((name) => (process.env.PATH ?? '').split(delimiter).map((folder) => join(folder, name)))
  .find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });

/** Whether this machine can run one. */
export const hasRedis = BINARY !== undefined;

let printed = false;

/** Without Redis: one line that nobody overlooks, and a failure in CI. */
function withoutRedis(name: string): void {
  const reason = 'there is no redis-server or valkey-server on the PATH';
  if (process.env.CI === 'true') {
    test(name, () => {
      throw new Error(`${reason}, and CI must not skip this`);
    });
    return;
  }
  if (!printed) process.stderr.write(`\n*** SKIPPED, tests that need Redis: ${reason} ***\n\n`);
  printed = true;
  describe.skip(name, () => {
    test('needs Redis', () => {});
  });
}

/**
 * A group of tests with a Redis of their own, which they may kill, stop and flush. It runs when the first test
 * begins, unless `started` is false.
 */
export function describeWithRedis(
  name: string,
  fn: (redis: RedisServer) => void,
  { started = true, parts = {} as RedisServerParts } = {},
): void {
  describeWithServers(name, () => {
    const redis = new RedisServer(parts);
    beforeAll(() => (started ? redis.start() : redis.reserve()));
    afterAll(() => redis.kill());
    fn(redis);
  });
}

/** A group of tests that start what Redis servers they need. */
export function describeWithServers(name: string, fn: () => void): void {
  if (BINARY === undefined) withoutRedis(name);
  else describe(name, fn);
}

/** Some Redis, and a prefix that no other test uses. */
export interface AnyRedis {
  readonly url: string;
  readonly keyPrefix: string;
}

/** A group of tests that only need some Redis: the one of `REDIS_URL`, if that is set. They must not harm it. */
export function describeWithAnyRedis(name: string, fn: (redis: AnyRedis) => void): void {
  const keyPrefix = `${randomUUID().slice(0, 8)}:`;
  const url = process.env.REDIS_URL;
  if (url) {
    describe(name, () => fn({ url, keyPrefix }));
    return;
  }
  describeWithRedis(name, (redis) =>
    fn({
      keyPrefix,
      get url() {
        return redis.url;
      },
    }),
  );
}
