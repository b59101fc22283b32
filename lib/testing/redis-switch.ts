import { nonEmptyString, optional, resolveOptions } from '../core/options.ts';
import { FailingRedis } from './failing-redis.ts';
import { TcpRelay } from './tcp-relay.ts';

/** Options of {@link startRedisSwitch}. */
export interface RedisSwitchOptions {
  /** URL of a real Redis, `redis://` without TLS. Default: none; `work()` then throws. */
  url?: string;
}

const plainRedisUrl = (value: unknown) =>
  nonEmptyString(value) ??
  (URL.parse(value as string)?.protocol === 'redis:' ? undefined : 'must be a URL like redis://127.0.0.1:6379');

/**
 * A Redis that fails on demand: pass its `url` to the code under test. It forwards to the real Redis at first. Without one, it does not
 * reply.
 *
 * ```ts
 * const redis = await startRedisSwitch({ url: process.env.REDIS_URL });
 * app.use(ipRateLimit({ redis: redis.url }));
 * await redis.silence();
 * ```
 *
 * @throws {OptionsError} that names each unknown key and each bad value.
 */
export async function startRedisSwitch(given?: RedisSwitchOptions): Promise<RedisSwitch> {
  const { url } = resolveOptions<RedisSwitchOptions, object>(
    'startRedisSwitch',
    given,
    {},
    { url: optional(plainRedisUrl) },
  );
  const failing = new FailingRedis();
  const failingAddress = { host: '127.0.0.1', port: await failing.listen() };
  const real = url === undefined ? undefined : new URL(url);
  const { host, port } = real === undefined ? failingAddress : addressOf(real);
  const relay = new TcpRelay(port, host);
  const ownPort = await relay.listen();
  if (real === undefined) relay.hold();
  return new RedisSwitch(relay, ownPort, failing, failingAddress.port, real);
}

const addressOf = ({ hostname, port }: URL) => ({
  // Only URLs have IPv6 addresses in brackets.
  host: hostname.replace(/^\[|\]$/g, ''),
  port: Number(port || 6379),
});

/** Made by {@link startRedisSwitch}. */
export class RedisSwitch {
  /** URL for clients. Its database and credentials are those of the real Redis. */
  readonly url: string;
  readonly #relay: TcpRelay;
  readonly #failing: FailingRedis;
  readonly #failingPort: number;
  readonly #real: URL | undefined;
  #isFailing = false;

  constructor(relay: TcpRelay, port: number, failing: FailingRedis, failingPort: number, real: URL | undefined) {
    this.#relay = relay;
    this.#failing = failing;
    this.#failingPort = failingPort;
    this.#real = real;
    const url = new URL(real ?? 'redis://127.0.0.1');
    url.host = `127.0.0.1:${port}`;
    this.url = url.href;
  }

  /**
   * Forwards everything to the real Redis again, including commands that `silence()` has held back.
   *
   * @throws {Error} without a real Redis
   */
  async work(): Promise<void> {
    if (this.#real === undefined) throw new Error('startRedisSwitch() was given no url of a Redis that works');
    if (this.#isFailing) {
      this.#isFailing = false;
      const { host, port } = addressOf(this.#real);
      this.#relay.moveTo(port, host);
      this.#relay.cut();
    }
    await this.#relay.listen();
    this.#relay.release();
  }

  /** Accepts connections and commands, but sends no reply, like a stopped process or a network that drops packets. */
  async silence(): Promise<void> {
    this.#relay.hold();
    await this.#relay.listen();
  }

  /** Resets existing connections and refuses new ones, as after a crash. */
  async refuse(): Promise<void> {
    await this.#relay.refuse();
  }

  /**
   * Replies to every command with an error, except to those that set up a connection. Existing connections are reset, so that replies of
   * the real Redis are not mixed with these.
   *
   * @param message Default `LOADING Redis is loading the dataset in memory`.
   */
  async fail(message = 'LOADING Redis is loading the dataset in memory'): Promise<void> {
    if (/[\r\n]/.test(message)) throw new TypeError('an error of Redis is one line');
    this.#failing.message = message;
    if (!this.#isFailing) {
      this.#isFailing = true;
      this.#relay.moveTo(this.#failingPort);
      this.#relay.cut();
    }
    await this.#relay.listen();
    this.#relay.release();
  }

  close(): void {
    this.#relay.close();
    this.#failing.close();
  }
}
