import { createHash } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { type Algorithm, ClientRecord } from '../../../lib/rate-limit/algorithms/algorithm.ts';
import type { AlgorithmScripts } from '../../../lib/rate-limit/algorithms/algorithm-scripts.ts';
import type { Quota } from '../../../lib/rate-limit/quota.ts';
import type { LuaScript } from '../../../lib/rate-limit/redis/lua.ts';
import { reconnectStrategy } from '../../../lib/rate-limit/redis/own-redis-client.ts';
import type { NodeRedisClient } from '../../../lib/rate-limit/redis/redis-client.ts';

/** Milliseconds that a command or a reply is under way. */
const WAY_MS = 1;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const isScript = (sha: string, { source }: LuaScript): boolean =>
  sha === createHash('sha1').update(source).digest('hex');

/**
 * A Redis in fake time, which can be paused and killed. It has the scripts of one algorithm, for claims of 1 under one quota; that the
 * scripts count as the algorithms do in TypeScript is tested elsewhere.
 */
export class SimulatedRedis {
  readonly #algorithm: Algorithm;
  readonly #scripts: AlgorithmScripts;
  readonly #records = new Map<string, ClientRecord>();
  /** Until when each gateway is known. */
  readonly #gateways = new Map<string, number>();
  readonly #clients: SimulatedClient[] = [];
  isUp = true;
  pausedUntil = 0;

  constructor(algorithm: Algorithm) {
    this.#algorithm = algorithm;
    this.#scripts = algorithm.redis as AlgorithmScripts;
  }

  client(): SimulatedClient {
    const client = new SimulatedClient(this);
    this.#clients.push(client);
    return client;
  }

  /** All that it knows is lost. */
  kill(): void {
    this.isUp = false;
    this.#records.clear();
    this.#gateways.clear();
    for (const client of this.#clients) client.lose();
  }

  start(): void {
    this.isUp = true;
  }

  run([command, sha, , key, ...args]: readonly string[]): unknown {
    if (command === 'SCRIPT') return 'sha';
    if (command === 'ZREM') return 1;
    if ((key as string).endsWith('{gateways}')) return this.#beat(args);
    const { take, charge, lease } = this.#scripts;
    if (isScript(sha as string, take)) return this.#take(this.#claimOf(key as string, args.slice(2)));
    if (isScript(sha as string, charge))
      return this.#charge(this.#claimOf(key as string, args.slice(2)), args.slice(5));
    if (isScript(sha as string, lease))
      return this.#lease(this.#claimOf(key as string, args.slice(8)), Number(args[2]));
    throw new Error(`There is no such script: ${sha}`);
  }

  #beat([id, ttlMs, onlyLooks]: readonly string[]): readonly number[] {
    const now = Date.now();
    const isNew = !this.#gateways.has(id as string);
    if (!isNew || onlyLooks !== '1') this.#gateways.set(id as string, now + Number(ttlMs));
    for (const [one, until] of this.#gateways) if (until <= now) this.#gateways.delete(one);
    return [isNew ? 1 : 0, this.#gateways.size];
  }

  #claimOf(key: string, quotaArgs: readonly string[]): SimulatedClaim {
    const [limit, windowMs, burst] = quotaArgs.map(Number) as [number, number, number];
    const now = Date.now();
    const record = this.#records.get(key) ?? new ClientRecord(now);
    this.#records.set(key, record);
    const quota = { limit, windowMs, burst };
    this.#algorithm.settle(record, now, quota);
    return { record, quota, now, left: () => this.#algorithm.remaining(record, now, quota) };
  }

  #take(claim: SimulatedClaim): readonly number[] {
    const allowed = this.#spend(claim, 1);
    return [allowed, ...this.#stateOf(claim), allowed];
  }

  #lease(claim: SimulatedClaim, least: number): readonly number[] {
    const allowed = this.#spend(claim, 1);
    const ahead = Math.max(0, Math.min(allowed * least, claim.left()));
    this.#algorithm.spend(claim.record, ahead, claim.quota);
    const restMs = this.#algorithm.restMs(claim.record, claim.now, claim.quota);
    return [allowed, ahead, restMs, ...this.#stateOf(claim), allowed, restMs, 0, 0];
  }

  #spend({ record, quota, left }: SimulatedClaim, cost: number): 0 | 1 {
    if (left() < cost) return 0;
    this.#algorithm.spend(record, cost, quota);
    return 1;
  }

  #stateOf({ record, quota, now, left }: SimulatedClaim): readonly number[] {
    const resetMs =
      left() < 1 ? this.#algorithm.waitMs(record, now, quota, 1) : this.#algorithm.restMs(record, now, quota);
    return [Math.max(0, left()), resetMs];
  }

  #charge({ record, quota, now, left }: SimulatedClaim, args: readonly string[]): number {
    const algorithm = this.#algorithm;
    const [units, older, restMs, least, over] = args.map(Number) as [number, number, number, number, number];
    const most = algorithm.most(quota);
    const room = Math.max(0, left());
    const fitting = Math.min(Math.max(0, least - (most - room)) + units, room);
    const all = fitting + Math.max(0, Math.min(over, left() - fitting + most));
    if (all === 0) return 1;
    if (algorithm.isRefilled) {
      algorithm.spend(record, all, quota);
      return 1;
    }
    if (record.spent === 0 && record.before === 0) record.at = Math.min(now, now + restMs - quota.windowMs);
    const part = quota.windowMs - 1 - (now - record.at);
    const before = part > 0 ? Math.min(fitting, older) : 0;
    record.before += Math.ceil((before * quota.windowMs) / Math.max(1, part));
    algorithm.spend(record, all - before, quota);
    return 1;
  }
}

interface SimulatedClaim {
  readonly record: ClientRecord;
  readonly quota: Quota;
  readonly now: number;
  readonly left: () => number;
}

/** A gateway's connection to it, which is made anew as node-redis does. */
export class SimulatedClient extends EventEmitter implements NodeRedisClient {
  readonly isOpen = true;
  isReady = true;
  /** Until when nothing gets through. */
  stalledUntil = 0;
  readonly #redis: SimulatedRedis;
  readonly #underWay = new Set<(error: Error) => void>();

  constructor(redis: SimulatedRedis) {
    super();
    this.#redis = redis;
  }

  async connect(): Promise<void> {}

  sendCommand(args: readonly string[]): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#underWay.add(reject);
      void this.#ask(args, () => this.#underWay.has(reject)).then((reply) => {
        if (this.#underWay.delete(reject)) resolve(reply);
      });
    });
  }

  /** The connection breaks. */
  lose(): void {
    const error = new Error('Socket closed unexpectedly');
    const underWay = [...this.#underWay];
    this.#underWay.clear();
    for (const reject of underWay) reject(error);
    if (!this.isReady) return;
    this.isReady = false;
    this.emit('error', error);
    this.#connectAgain(0);
  }

  async #ask(args: readonly string[], isConnected: () => boolean): Promise<unknown> {
    await this.#travel();
    while (this.#redis.pausedUntil > Date.now()) await sleep(this.#redis.pausedUntil - Date.now());
    if (!isConnected()) return undefined;
    const reply = this.#redis.run(args);
    await this.#travel();
    return reply;
  }

  #travel(): Promise<void> {
    return sleep(WAY_MS + Math.max(0, this.stalledUntil - Date.now()));
  }

  #connectAgain(retries: number): void {
    setTimeout(() => {
      if (this.#redis.isUp) {
        this.isReady = true;
        this.emit('ready');
      } else {
        this.#connectAgain(retries + 1);
      }
    }, reconnectStrategy(retries));
  }
}
