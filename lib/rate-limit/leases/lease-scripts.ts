import { readClaims, slidingWindowLua, tokenBucketLua } from '../algorithms/algorithm-scripts.ts';
import { LuaScript } from '../redis/lua.ts';

/**
 * As the scripts that charge one claim, but charges for more of them ahead. Replies allowed, what was charged ahead, and
 * milliseconds for which all of that may be kept (`leaseMs` of the algorithm); then, for each quota, what the other scripts
 * reply; milliseconds until its window is over, or its bucket full; and, where more is charged than there is yet, what is due
 * and what of it each millisecond brings, in units of 1/window (`due` of the algorithm), else 0 and 0.
 *
 * ARGV has, between the time and the quotas:
 * 3. what is charged as far as it is there;
 * 4. what is wished for later claims, of which no more is charged than
 * 5. this part of what remains;
 * 6. what is charged also before it is there, for a client that uses
 * 7. one in so many milliseconds;
 * 8. what is charged at most for a gateway that the client is new to, if it has spent as much elsewhere.
 */
const frame = (algorithm: string): LuaScript =>
  new LuaScript(`${algorithm}${readClaims(9)}
local ahead = 0
local lease = 0
if allowed == 1 and tonumber(ARGV[1]) > 0 then
  ahead = math.huge
  lease = math.huge
  for i, c in ipairs(claims) do
    local wish = tonumber(ARGV[4])
    if ARGV[8] ~= '0' then wish = math.max(wish, math.min(known(c), tonumber(ARGV[8]))) end
    spend(c)
    local room = math.max(0, remaining(c, now))
    local wished = math.min(wish, math.floor(room * tonumber(ARGV[5])))
    local least = math.min(tonumber(ARGV[3]), room)
    if ARGV[6] ~= '0' then least = math.max(least, math.min(tonumber(ARGV[6]), coming(c, now, tonumber(ARGV[7])))) end
    ahead = math.min(ahead, math.max(wished, least))
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
  local ends = rest(c, now)
  local units, perMs = 0, 0
  if left == 0 then
    units, perMs = due(c, now)
    if units < c.window then units, perMs = 0, 0 end
  end
  local n = #reply
  reply[n + 1] = left
  reply[n + 2] = wanted > left and wait(c, now, wanted) or ends
  reply[n + 3] = c.fits and 1 or 0
  reply[n + 4] = ends
  reply[n + 5] = units
  reply[n + 6] = perMs
end
return reply
`);

/**
 * A charge counts as much wherever in its window it was made, and weighs less only when that window is over. Until then comes
 * what the window before has left free; what comes to a gateway that cannot use it any more is lost, hence the 4: see
 * docs/decisions/0020-leases.md.
 */
export const slidingWindowLeaseScript = frame(`${slidingWindowLua}
local function leaseMs(c, now) return rest(c, now) end
local function known(c) return c.spent end
local function coming(c, now, everMs) return math.min(c.limit - c.spent, math.floor(rest(c, now) / (4 * everMs))) end
local function due(c, now) return c.before * covered(c, now) - (c.limit - c.spent) * c.window, c.before end
`);

/** The bucket would be full then, had nothing been taken ahead. Tokens come without end, but numbers must stay exact. */
export const tokenBucketLeaseScript = frame(`${tokenBucketLua}
local function leaseMs(c, now) return math.floor(c.spent / c.limit) end
local function known(c) return math.ceil(c.spent / c.window) end
local function coming(c) return math.max(0, math.floor((2^53 - c.spent) / c.window) - 1) end
local function due(c) return c.spent - c.burst * c.window + c.window - 1, c.limit end
`);
