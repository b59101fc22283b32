import type { Quota } from '../quota.ts';
import { type Algorithm, type ClientRecord, partOf, type Told } from './algorithm.ts';
import { AlgorithmScripts } from './algorithm-scripts.ts';

/** A bucket refills at the limit of its latest hit. So the time at which it is full, and expires in Redis, is known. */
const rateOf = (record: ClientRecord, { limit }: Quota): number => record.before || limit;

/** A lease ends when the bucket would be full if nothing had been charged in advance. This bounds the numbers, which must stay exact. */
const scripts = new AlgorithmScripts({
  keyLetter: 'b',
  counting: `
local function rate(c) return c.before > 0 and c.before or c.limit end
local function settle(c, now)
  c.spent = math.max(0, c.spent - (now - c.at) * rate(c))
  c.at = now
end
local function most(c) return c.burst end
local function remaining(c) return math.floor((c.burst * c.window - c.spent) / c.window) end
local function spend(c)
  c.spent = c.spent + c.cost * c.window
  c.before = c.limit
end
local function wait(c, now, cost) return math.ceil((c.spent - (c.burst - cost) * c.window) / rate(c)) end
local function rest(c) return math.ceil(c.spent / rate(c)) end
local function lifetime(c) return rest(c) end
local function spendBefore() return 0 end
`,
  leasing: `
local function leaseMs(c, now) return math.floor(c.spent / c.limit) end
local function known(c) return math.ceil(c.spent / c.window) end
local function coming(c) return math.max(0, math.floor((2^53 - c.spent) / c.window) - 1) end
local function due(c) return c.spent - c.burst * c.window + c.window - 1, c.limit end
`,
});

/**
 * A bucket of `burst` tokens that is refilled evenly, `limit` per window: the generic cell rate algorithm
 * (ITU-T I.371 annex A). Its theoretical arrival time is kept as what is missing in the bucket, in units of
 * 1/`windowMs` token. Each millisecond adds `limit` of these, so nothing is ever rounded.
 */
export const tokenBucket: Algorithm = Object.freeze({
  summary: 'Up to `burst` requests at once, refilled evenly at `limit` per window.',
  atMost: '`burst` + the limit',
  redis: scripts,
  isRefilled: true,

  lifetimeMs: ({ limit, windowMs, burst }: Quota) => Math.ceil((burst * windowMs) / limit),

  settle(record: ClientRecord, now: number, quota: Quota): void {
    record.spent = Math.max(0, record.spent - (now - record.at) * rateOf(record, quota));
    record.at = now;
  },

  remaining: (record: ClientRecord, _now: number, { windowMs, burst }: Quota) =>
    Math.floor((burst * windowMs - record.spent) / windowMs),

  spend(record: ClientRecord, cost: number, { limit, windowMs }: Quota): void {
    record.spent += cost * windowMs;
    record.before = limit;
  },

  waitMs: (record: ClientRecord, _now: number, quota: Quota, cost: number) =>
    Math.ceil((record.spent - (quota.burst - cost) * quota.windowMs) / rateOf(record, quota)),

  restMs: (record: ClientRecord, _now: number, quota: Quota) => Math.ceil(record.spent / rateOf(record, quota)),

  most: ({ burst }: Quota) => burst,

  restore(record: ClientRecord, now: number, { limit, windowMs, burst }: Quota, told: Told): void {
    const { remaining, resetMs, gateways } = told;
    // A part of the next token may have been refilled: the wait tells how much is missing. This gateway has its part of that, too.
    const next = remaining > 0 ? 0 : Math.max(0, windowMs - resetMs * told.limit);
    const part = Math.floor(((remaining % gateways) * windowMs + next) / gateways);
    record.spent = Math.max(0, (burst - partOf(told)) * windowMs - part);
    record.before = limit;
    record.at = now;
  },
});
