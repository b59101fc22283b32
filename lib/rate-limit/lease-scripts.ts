import { readClaims, slidingWindowLua, tokenBucketLua } from './algorithm-scripts.ts';
import { LuaScript } from './lua.ts';

/**
 * As the scripts that charge one claim, but charges for more of them ahead. ARGV has, between the time and the quotas: the
 * cost of claims that wait for this one; what is wished for later claims; and the part of what remains that may be
 * taken for those. Replies allowed, what was charged ahead, and milliseconds for which all of that may be kept
 * (`leaseMs` of the algorithm); then, for each quota, what the other scripts reply and milliseconds until its window is over,
 * or its bucket full.
 */
const frame = (algorithm: string): LuaScript =>
  new LuaScript(`${algorithm}${readClaims(6)}
local ahead = 0
local lease = 0
if allowed == 1 and tonumber(ARGV[1]) > 0 then
  ahead = math.huge
  lease = math.huge
  for i, c in ipairs(claims) do
    spend(c)
    local room = math.max(0, remaining(c, now))
    local wished = math.min(tonumber(ARGV[4]), math.floor(room * tonumber(ARGV[5])))
    ahead = math.min(ahead, math.max(wished, math.min(tonumber(ARGV[3]), room)))
    lease = math.min(lease, leaseMs(c, now))
  end
  for i, c in ipairs(claims) do
    c.cost = ahead
    spend(c)
    write(i, c)
  end
end
local reply = { allowed, ahead, lease }
for i, c in ipairs(claims) do
  local left = math.max(0, remaining(c, now))
  local wanted = c.fits and 1 or c.cost
  reply[#reply + 1] = left
  reply[#reply + 1] = wanted > left and wait(c, now, wanted) or rest(c, now)
  reply[#reply + 1] = c.fits and 1 or 0
  reply[#reply + 1] = rest(c, now)
end
return reply
`);

/** A charge counts as much wherever in its window it was made, and weighs less only when that window is over. */
export const slidingWindowLeaseScript = frame(`${slidingWindowLua}
local function leaseMs(c, now) return rest(c, now) end
`);

/** The bucket would be full then, had nothing been taken ahead: see docs/decisions/0020-leases.md. */
export const tokenBucketLeaseScript = frame(`${tokenBucketLua}
local function leaseMs(c, now) return math.floor(c.spent / c.limit) end
`);
