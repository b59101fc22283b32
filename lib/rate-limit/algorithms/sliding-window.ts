import type { Quota } from '../quota.ts';
import { type Algorithm, type ClientRecord, partOf, type Told } from './algorithm.ts';
import { AlgorithmScripts } from './algorithm-scripts.ts';

/**
 * A charge keeps its full weight until its window ends. Until then, quota becomes available only as the previous window slides out. Units
 * that a gateway can no longer use by then are lost, hence the 4 in `coming`: see docs/decisions/0020-leases.md.
 */
const scripts = new AlgorithmScripts({
  keyLetter: 's',
  counting: `
local function covered(c, now) return c.window - 1 - (now - c.at) end
local function settle(c, now)
  local gone = now - c.at
  if gone >= 2 * c.window then
    c.before = 0
    c.spent = 0
  elseif gone >= c.window then
    c.at = c.at + c.window
    c.before = c.spent
    c.spent = 0
  end
  if c.spent == 0 and c.before == 0 then c.at = now end
end
local function most(c) return c.limit end
local function remaining(c, now)
  return c.limit - c.spent - math.floor(c.before * covered(c, now) / c.window)
end
local function spend(c) c.spent = c.spent + c.cost end
local function wait(c, now, cost)
  local room = c.limit - c.spent - cost
  if room >= 0 then return covered(c, now) - math.floor(((room + 1) * c.window - 1) / c.before) end
  return covered(c, now) + c.window - math.floor(((c.limit - cost + 1) * c.window - 1) / c.spent)
end
local function rest(c, now) return covered(c, now) + 1 end
local function lifetime(c, now) return c.at + 2 * c.window - now end
local function spendBefore(c, now, older, rest)
  if c.spent == 0 and c.before == 0 then c.at = math.min(now, now + rest - c.window) end
  local part = covered(c, now)
  if part <= 0 then return 0 end
  c.before = c.before + math.ceil(older * c.window / part)
  return older
end
`,
  leasing: `
local function leaseMs(c, now) return rest(c, now) end
local function known(c) return c.spent end
local function coming(c, now, everMs) return math.min(c.limit - c.spent, math.floor(rest(c, now) / (4 * everMs))) end
local function due(c, now) return c.before * covered(c, now) - (c.limit - c.spent) * c.window, c.before end
`,
});

/**
 * Two adjacent windows, the older one weighted with the part of it that the sliding window still covers (Cloudflare,
 * "How we built rate limiting capable of scaling to millions of domains", 2017). A client's first request starts its
 * windows. Hits of the older window are taken to be spread evenly over it: docs/decisions/0010-sliding-window.md has the error.
 */
export const slidingWindow: Algorithm = Object.freeze({
  summary: 'In the window that ends now. The older part of it is an estimate.',
  atMost: 'the limit, by an estimate',
  redis: scripts,

  lifetimeMs: ({ windowMs }: Quota) => 2 * windowMs,

  settle(record: ClientRecord, now: number, { windowMs }: Quota): void {
    const elapsed = now - record.at;
    if (elapsed >= 2 * windowMs) {
      record.before = record.spent = 0;
    } else if (elapsed >= windowMs) {
      record.at += windowMs;
      record.before = record.spent;
      record.spent = 0;
    }
    if (record.spent === 0 && record.before === 0) record.at = now;
  },

  remaining(record: ClientRecord, now: number, quota: Quota): number {
    if (record.before === 0) return quota.limit - record.spent;
    return quota.limit - record.spent - older(record, now, quota);
  },

  older,

  spend(record: ClientRecord, cost: number): void {
    record.spent += cost;
  },

  waitMs(record: ClientRecord, now: number, { limit, windowMs }: Quota, cost: number): number {
    const covered = coveredMs(record, now, windowMs);
    const room = limit - record.spent - cost;
    // Either enough of the older window slides out before it is gone...
    if (room >= 0) return covered - Math.floor(((room + 1) * windowMs - 1) / record.before);
    // ...or it is gone, and enough of the present window slides out after that.
    return covered + windowMs - Math.floor(((limit - cost + 1) * windowMs - 1) / record.spent);
  },

  restMs: (record: ClientRecord, now: number, { windowMs }: Quota) => coveredMs(record, now, windowMs) + 1,

  most: ({ limit }: Quota) => limit,

  // Hits of the older window are entered into the current one, where they have more weight. The window ends when the wait ends:
  // `waitMs()` of such a record equals `restMs()`.
  restore(record: ClientRecord, now: number, { limit, windowMs }: Quota, told: Told): void {
    record.before = 0;
    record.spent = limit - partOf(told);
    // The next hit to become available is one for all gateways. This gateway waits until there is one for each.
    const turnsMs = told.remaining === 0 ? (told.gateways - 1) * Math.ceil(windowMs / told.limit) : 0;
    record.at = now + Math.min(told.resetMs + turnsMs, windowMs) - windowMs;
  },
});

function older(record: ClientRecord, now: number, { windowMs }: Quota): number {
  return Math.floor((record.before * coveredMs(record, now, windowMs)) / windowMs);
}

/** Milliseconds of the older window that the sliding window still covers. */
const coveredMs = (record: ClientRecord, now: number, windowMs: number): number => windowMs - 1 - (now - record.at);
