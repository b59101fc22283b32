import { refuseForeign } from '../redis/foreign-key.ts';
import { LuaScript } from '../redis/lua.ts';

/** The Lua functions of an algorithm. */
export interface LuaFunctions {
  /** Distinguishes the keys of the algorithms in Redis. */
  readonly keyLetter: string;
  /**
   * The arithmetic, line by line as in TypeScript, on a table `c` of `at`, `spent`, `before`, `limit`, `window`, `burst` and `cost`:
   * `settle(c, now)`, `most(c)`, `remaining(c, now)`, `spend(c)`, `wait(c, now, cost)`, `rest(c, now)`, `lifetime(c, now)`, and
   * `spendBefore(c, now, older, rest)`, which spends `older` in the previous window and returns how much of that it spent there.
   */
  readonly counting: string;
  /**
   * For leases: `leaseMs(c, now)`, milliseconds for which units charged in advance may be kept; `known(c)`, what the client has spent;
   * `coming(c, now, everMs)`, what may be charged before it is available; and `due(c, now)`, which returns what is charged but not
   * available yet, and how much of it becomes available per millisecond, both in units of 1/window.
   */
  readonly leasing: string;
}

/** The Redis scripts of one algorithm. They need Redis 5, where a script may write after it has read the clock. */
export class AlgorithmScripts {
  readonly keyLetter: string;
  /**
   * Counts one claim. KEYS: one for each quota. ARGV: the cost; the time in milliseconds, or nothing for Redis's own clock; then limit,
   * window and burst of each quota. Replies 1 (allowed) or 0; then, for each quota, what remains, milliseconds to wait, and whether
   * the cost fitted.
   */
  readonly take: LuaScript;
  /**
   * Charges what was spent while Redis was away, up to the limit. KEYS and ARGV as for `take`, with a cost of 0. After the quotas come five
   * lists with a number for each quota, as in `Owed`: `units`, `older`, `restMs`, `least` and `over`. `over` is charged even above
   * the limit, up to twice the limit in all.
   */
  readonly charge: LuaScript;
  /**
   * As `take`, and charges in advance. Replies allowed, the units charged in advance, and the milliseconds for which they may be kept
   * (`leaseMs`); then, for each quota, what `take` replies; milliseconds until its window ends, or its bucket is full; and the two numbers
   * of `due`, which are 0 and 0 if all charged units are available.
   *
   * ARGV has, between the time and the quotas:
   * 3. units to charge if they are available;
   * 4. units wished for later claims,
   * 5. and the part of what remains that these may take;
   * 6. units to charge even before they are available,
   * 7. for a client that uses one in so many milliseconds;
   * 8. the most units for a gateway that the client is new to, if the client has spent as many at others.
   */
  readonly lease: LuaScript;

  constructor({ keyLetter, counting, leasing }: LuaFunctions) {
    this.keyLetter = keyLetter;
    this.take = new LuaScript(counting + readClaims(3) + TAKE);
    this.charge = new LuaScript(counting + readClaims(3) + CHARGE);
    this.lease = new LuaScript(counting + leasing + readClaims(9) + LEASE);
  }
}

/** Lua pattern of what a key holds. */
const RECORD = '^(%d+) (%d+) (%d+)$';

/**
 * The beginning of all scripts: reads the records of all KEYS into `claims`, settles them to `now`, and finds out whether `ARGV[1]` fits
 * into each. If a record is later than now, the clock was set back: the record is rewritten, even if the claim is refused. Each write sets
 * an expiry in the same command, so no key is ever without one. A key that holds something else ends the script before it
 * writes.
 *
 * @param first Index in ARGV where limit, window and burst of each quota begin.
 */
const readClaims = (first: number): string => `
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
  local text = redis.pcall('GET', key)
  ${refuseForeign('i', `string.find(text, '${RECORD}')`)}
  local at, spent, before = string.match(text or '', '${RECORD}')
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

const TAKE = `
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
`;

const CHARGE = `
for i, c in ipairs(claims) do
  local left = remaining(c, now)
  local room = math.max(0, left)
  local lost = math.max(0, tonumber(ARGV[2 + 6 * #KEYS + i]) - (most(c) - room))
  local units = math.min(lost + tonumber(ARGV[2 + 3 * #KEYS + i]), room)
  local over = math.max(0, math.min(tonumber(ARGV[2 + 7 * #KEYS + i]), left - units + most(c)))
  if units + over > 0 then
    local older = math.min(units, tonumber(ARGV[2 + 4 * #KEYS + i]))
    c.cost = over + units - spendBefore(c, now, older, tonumber(ARGV[2 + 5 * #KEYS + i]))
    spend(c)
    write(i, c)
  end
end
return 1
`;

const LEASE = `
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
`;
