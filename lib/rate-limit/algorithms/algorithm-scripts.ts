import { LuaScript } from '../redis/lua.ts';

/**
 * What all scripts begin with: the records of all KEYS as `claims`, settled to `now`, and whether `ARGV[1]` fits into each.
 * A record of a clock that was set back since is written anew, whatever becomes of the claim.
 *
 * @param first Where in ARGV limit, window and burst of each quota begin.
 */
export const readClaims = (first: number): string => `
local now = tonumber(ARGV[2])
if not now then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
local function write(i, c)
  local record = string.format('%.0f %.0f %.0f', c.at, c.spent, c.before)
  redis.call('SET', KEYS[i], record, 'PX', string.format('%.0f', math.max(1, lifetime(c, now))))
end
local claims = {}
local allowed = 1
for i, key in ipairs(KEYS) do
  local at = 3 * i + ${first - 3}
  local c = { limit = tonumber(ARGV[at]), window = tonumber(ARGV[at + 1]), burst = tonumber(ARGV[at + 2]) }
  local text = redis.call('GET', key)
  local at, spent, before = string.match(text or '', '^(%d+) (%d+) (%d+)$')
  c.at = tonumber(at) or now
  c.spent = tonumber(spent) or 0
  c.before = tonumber(before) or 0
  if c.at > now then
    c.at = now
    write(i, c)
  end
  settle(c, now)
  c.cost = math.min(tonumber(ARGV[1]), most(c))
  c.fits = c.cost == 0 or c.cost <= remaining(c, now)
  if not c.fits then allowed = 0 end
  claims[i] = c
end
`;

/**
 * KEYS: one for each quota. ARGV: the cost; the time in milliseconds, or nothing for Redis's own clock; then limit,
 * window and burst of each quota. Replies 1 or 0 for allowed; then what remains, milliseconds to wait and whether
 * the cost fitted, for each quota. Needs Redis 5, where a script may write after it has read the clock.
 *
 * What a script writes has an expiry in the same command, so no key is ever without.
 */
const frame = (algorithm: string): LuaScript =>
  new LuaScript(`${algorithm}${readClaims(3)}
local reply = { allowed }
for i, c in ipairs(claims) do
  if allowed == 1 and c.cost > 0 then
    spend(c)
    write(i, c)
  end
  local left = math.max(0, remaining(c, now))
  local wanted = c.fits and 1 or c.cost
  reply[#reply + 1] = left
  reply[#reply + 1] = wanted > left and wait(c, now, wanted) or rest(c, now)
  reply[#reply + 1] = c.fits and 1 or 0
end
return reply
`);

/** `sliding-window.ts`, line by line. */
export const slidingWindowLua = `
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
`;

/** `token-bucket.ts`, line by line. */
export const tokenBucketLua = `
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
`;

/**
 * Charges what was spent while Redis was away, as far as it fits. KEYS and ARGV are those of the other scripts, with 0 as
 * the cost; behind the quotas come, of each: what to charge; the part of it that was spent in the window before; in how many milliseconds
 * the window ends in which the rest was spent; and what must be spent before that, at least.
 */
const chargeFrame = (algorithm: string): LuaScript =>
  new LuaScript(`${algorithm}${readClaims(3)}
for i, c in ipairs(claims) do
  local room = math.max(0, remaining(c, now))
  local lost = math.max(0, tonumber(ARGV[2 + 6 * #KEYS + i]) - (most(c) - room))
  local units = math.min(lost + tonumber(ARGV[2 + 3 * #KEYS + i]), room)
  if units > 0 then
    local older = math.min(units, tonumber(ARGV[2 + 4 * #KEYS + i]))
    c.cost = units - spendBefore(c, now, older, tonumber(ARGV[2 + 5 * #KEYS + i]))
    spend(c)
    write(i, c)
  end
end
return 1
`);

export const slidingWindowScript = frame(slidingWindowLua);
export const slidingWindowChargeScript = chargeFrame(slidingWindowLua);

export const tokenBucketScript = frame(tokenBucketLua);
export const tokenBucketChargeScript = chargeFrame(tokenBucketLua);
