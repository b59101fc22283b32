import { expect } from '@jest/globals';
import express from 'express';
import type { LimiterModeChangeEvent } from '../../lib/core/events.ts';
import { ipRateLimit } from '../../lib/rate-limit/ip-rate-limit.ts';
import type { IpRateLimitOptions } from '../../lib/rate-limit/ip-rate-limit-options.ts';
import type { Cleanup } from './gateway.ts';
import { pause } from './pause.ts';
import { redisCommand } from './redis.ts';
import { eventually, listen } from './servers.ts';

/** As good as no limit. */
export const NO_LIMIT = 1_000_000;
/** How many ask at the same time. */
const CLIENTS = 10;

export interface LimiterAnswer {
  readonly status: number;
  readonly startedAt: number;
  /** Whether the limiter waited for Redis, for however long, before it decided. No clock says that, so no busy machine changes it. */
  readonly waited: boolean;
  /** What the answer says is left. */
  readonly left: number;
}

/** Asks as the client of this address, with this limit. */
export async function askLimiter(url: string, from: string, limit = NO_LIMIT): Promise<LimiterAnswer> {
  const startedAt = performance.now();
  const answer = await fetch(url, { headers: { 'X-Forwarded-For': from, 'X-Limit': String(limit) } });
  await answer.arrayBuffer();
  const left = Number(/;r=(\d+)/.exec(answer.headers.get('ratelimit') ?? '')?.[1]);
  return { status: answer.status, startedAt, waited: answer.headers.has('x-waited'), left };
}

/** A gateway that does nothing but limit; each request brings its client's limit along. */
export async function limiterGateway(options: IpRateLimitOptions, cleanup: Cleanup) {
  const limit = (req: { headers: Record<string, unknown> }) => Number(req.headers['x-limit']);
  const limiter = cleanup.add(ipRateLimit({ limit, windowMs: 3_600_000, ...options }));
  const changes: LimiterModeChangeEvent[] = [];
  limiter.events.on('limiterModeChange', (change) => changes.push(change));
  const app = express()
    .set('trust proxy', 1)
    .use((req, res, next) => {
      let decided = false;
      limiter(req, res, (error) => {
        decided = true;
        next(error);
      });
      if (!decided && !res.writableEnded) res.set('X-Waited', 'yes');
    })
    .use((_req, res) => void res.send('ok'));
  return { limiter, changes, ...cleanup.add(await listen(app)) };
}

export type LimiterGateway = Awaited<ReturnType<typeof limiterGateway>>;

/** Clients that ask all the time, a few hundred times a second, by turns on each gateway. */
export function limiterLoad(gateways: readonly LimiterGateway[], addresses = addressesOf('203.0.113', CLIENTS)) {
  let stopped = false;
  const answers: LimiterAnswer[] = [];
  const clients = Array.from({ length: CLIENTS }, async (_, i) => {
    for (let turn = i; !stopped; turn += CLIENTS) {
      const address = addresses[turn % addresses.length] as string;
      answers.push(await askLimiter(gateways[i % gateways.length]!.url, address));
      await pause('the pace of the load', 10);
    }
  });
  return {
    answers,
    /** Waits until so many more answers have come. */
    more: (count: number) => {
      const goal = answers.length + count;
      return eventually(`${count} more answers`, () => answers.length >= goal);
    },
    close: async () => {
      stopped = true;
      await Promise.all(clients);
    },
  };
}

export const addressesOf = (network: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `${network}.${i}`);

let lastClient = 0;

/** Waits until each gateway sees what the other has counted. */
export async function countTogether(one: LimiterGateway, two: LimiterGateway, deadlineMs?: number): Promise<void> {
  const sharing = async () => {
    const from = `198.51.100.${++lastClient % 256}`;
    const [first, second] = [await askLimiter(one.url, from), await askLimiter(two.url, from)];
    // Two that count apart can come to such numbers as well.
    const both = [one, two].every(({ limiter }) => limiter.mode === 'redis');
    return both && second.left === first.left - 1;
  };
  await eventually('both count together', sharing, deadlineMs);
}

const GATEWAYS_KEY = 'expressway:rl:ip:{gateways}';

/**
 * Waits until each of so many gateways knows of the others: each has told Redis of itself twice since all of them are there,
 * and before the second time it had the reply to the first.
 */
export async function knowEachOther(redis: string, count: number): Promise<void> {
  const times = new Map<string, { at: number; told: number }>();
  const told = async () => {
    const reply = (await redisCommand(redis, 'ZRANGE', GATEWAYS_KEY, '0', '-1', 'WITHSCORES')) as unknown[];
    const flat = reply.flat().map(String);
    if (flat.length < 2 * count) return false;
    for (let i = 0; i < flat.length; i += 2) {
      const [id, at] = [flat[i] as string, Number(flat[i + 1])];
      const known = times.get(id);
      if (known === undefined) times.set(id, { at, told: 0 });
      else if (at > known.at) times.set(id, { at, told: known.told + 1 });
    }
    // Those of earlier tests are still listed, and say nothing any more.
    return [...times.values()].filter((one) => one.told >= 2).length >= count;
  };
  await eventually(`${count} gateways know of each other`, told);
}

/** How many of so many requests pass, by turns on each gateway. */
export async function passes(
  gateways: readonly LimiterGateway[],
  from: string,
  limit: number,
  count: number,
): Promise<number> {
  let passed = 0;
  for (let i = 0; i < count; i++) {
    const { status } = await askLimiter(gateways[i % gateways.length]!.url, from, limit);
    expect([200, 429]).toContain(status);
    if (status === 200) passed++;
  }
  return passed;
}
