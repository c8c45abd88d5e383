// The pieces of the scripts for Redis (limit_script.h), in the Lua that Redis 5 and later run.
// Numbers are doubles: the arithmetic of limit_rule.h keeps all of them exact.
#pragma once

#include <string_view>

namespace gatehouse::filters {

// KEYS[1]: of the policy's key. ARGV: the rules, the cost, a debt, when it was made (or, giving
// back, how long ago it was taken), the lease in microseconds, and what it is called.
inline constexpr std::string_view kLuaStart =
    R"lua(local desc, cost, delta = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3] or 0)
local key, size, unpack_ = KEYS[1], #ARGV[1], struct.unpack
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
-- What is later was counted before the clock was set back (a failover), and is forgotten.
local latest = now + 60000000
)lua";

inline constexpr std::string_view kLuaTakeOne = R"lua(local value = redis.call('GET', key)
local same = not value
if value then
  same = #value == size / 3 * 4 and string.sub(value, 1, size) == desc
end

-- Buckets and windows are whole in the string. One thing at a time: a debt, or a cost.
if same and (delta == 0 or cost == 0) then
  local floor, ceil = math.floor, math.ceil
  local reply, text, till, when = {1, now}, desc, 0, now
  if delta > 0 and tonumber(ARGV[4]) < now then when = tonumber(ARGV[4]) end
  for i = 0, size / 48 - 1 do
    local kind, limit, n1, n2, n3, n4 = unpack_('<dddddd', desc, 48 * i + 1)
    local a, b, fits = 0, 0, true
    if value then a, b = unpack_('<dd', value, size + 16 * i + 1) end
    if a > latest then a, b = 0, 0 end
    local na, nb, idle = a, b, 0
    if kind < 2 then
      na = when - when % n1
      if na > a then
        nb = b - (na - a) / n1 * n2
        if nb < 0 then nb = 0 end
      else
        na = a
      end
      local late = kind == 1 and nb > 0 and na + ceil(nb / n2) * n1 - now > n4
      nb = nb + (cost + delta) * n3
      if nb > 4503599627370495 then nb = 4503599627370495 end
      fits = cost <= limit and nb <= limit * n3 and not late
      idle = na + ceil(nb / n2) * n1
    elseif kind == 2 then
      if a > when and delta == 0 then na = a - a % n1 else na = when - when % n1 end
      if a > na and delta > 0 then
        na = a
      else
        nb = (a < na and 0 or b) + cost + delta
      end
      fits = nb <= limit
      idle = na - na % n1 + n1
    elseif kind == 4 and delta == 0 then
      local t, per = a > now and a or now, n1 * n2
      na = t - t % per
      local before, count = 0, 0
      if a == na then
        before, count = floor(b / 67108864), b % 67108864
      elseif a == na - per then
        before = b % 67108864
      end
      local share = (before < limit and before or limit) * (n2 - floor((t - na) / n1))
      fits = share + (count + cost) * n2 <= limit * n2
      nb = before * 67108864 + count + cost
      idle = na + 2 * per
    else
      reply = nil
      break
    end
    if idle > till then till = idle end
    if cost > 0 and not fits then reply[1] = 0 end
    if delta > 0 then a, b = na, nb end
    reply[2 * i + 3], reply[2 * i + 4] = a, b
    text = text .. struct.pack('<dd', na, nb)
  end
  if reply then
    if reply[1] == 1 and cost + delta > 0 then
      if till > now then
        redis.call('SET', key, text, 'PX', ceil((till - now) / 1000) + 1)
      elseif value then
        redis.call('DEL', key)
      end
    end
    return reply
  end
end
)lua";

// The arithmetic of limit_rule.h.
inline constexpr std::string_view kLuaRules =
    R"lua(local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min

local function month_start(year, month)
  if month > 12 then year, month = year + 1, month - 12 end
  if month < 3 then year, month = year - 1, month + 12 end
  local era = floor(year / 400)
  local e = year - era * 400
  return era * 146097 + e * 365 + floor(e / 4) - floor(e / 100) + floor((153 * (month - 3) + 2) / 5)
    - 719468
end

local function window(r, t)
  if r.kind ~= 3 then
    local start = t - t % r.per
    return start, start + r.per
  end
  local day = floor((t + r.n2) / 86400000000)
  local first, after = day, day + 1
  if r.n1 == 1 then
    first = day - (day + 3) % 7
    after = first + 7
  elseif r.n1 > 1 then
    local z = day + 719468
    local era = floor(z / 146097)
    local e = z - era * 146097
    local y = floor((e - floor(e / 1460) + floor(e / 36524) - floor(e / 146096)) / 365)
    local m = floor((5 * (e - 365 * y - floor(y / 4) + floor(y / 100)) + 2) / 153)
    local year, month = y + era * 400, m + 3
    if month > 12 then year, month = year + 1, month - 12 end
    if r.n1 == 2 then
      first, after = month_start(year, month), month_start(year, month + 1)
    else
      first, after = month_start(year, 1), month_start(year + 1, 1)
    end
  end
  return max(first * 86400000000 - r.n2, 0), after * 86400000000 - r.n2
end

local function rule(text, i)
  local r = {at = i, text = string.sub(text, 48 * i - 47, 48 * i)}
  r.kind, r.limit, r.n1, r.n2, r.n3, r.n4 = unpack_('<dddddd', r.text)
  r.per = r.kind == 4 and r.n1 * r.n2 or r.n1
  r.store = key .. ':' .. i
  return r
end

-- The debt of a bucket, and the time that it is of.
local function debt(r, s, t)
  t = max(s.a, t - t % r.n1)
  return max(0, s.b - (t - s.a) / r.n1 * r.n2), t
end

local function sliding(r, s, t)
  t = max(s.a, t)
  local start, before, count = t - t % r.per, 0, 0
  if s.a == start then
    before, count = floor(s.b / 67108864), s.b % 67108864
  elseif s.a == start - r.per then
    before = s.b % 67108864
  end
  local used = min(before, r.limit) * (r.n2 - floor((t - start) / r.n1)) + count * r.n2
  return used, start, before, count
end

-- The units of a log and the places of requests under way are kept beside the state.
local function read(r, s)
  if r.kind == 5 then
    s.a = tonumber(redis.call('LINDEX', r.store, -1) or 0)
    if s.a > latest then
      redis.call('DEL', r.store)
      s.a = 0
    end
    local t = max(s.a, now)
    local first = redis.call('LINDEX', r.store, 0)
    while first and tonumber(first) + r.per <= t do
      redis.call('LPOP', r.store)
      first = redis.call('LINDEX', r.store, 0)
    end
    s.b = redis.call('LLEN', r.store)
    if s.b == 0 then s.a = 0 end
  elseif r.kind == 6 then
    redis.call('ZREMRANGEBYSCORE', r.store, '-inf', now)
    s.b = redis.call('ZCARD', r.store)
  end
end

local function used(r, s)
  if r.kind < 2 then return ceil(debt(r, s, now) / r.n3) end
  if r.kind == 4 then return ceil(sliding(r, s, now) / r.n2) end
  if r.kind > 4 then return s.b end
  return window(r, max(s.a, now)) <= s.a and s.b or 0
end

local function add_units(r, units, t)
  for i = 1, units, 1000 do
    local list = {}
    for j = 1, min(1000, units - i + 1) do list[j] = string.format('%.0f', t) end
    redis.call('RPUSH', r.store, unpack(list))
  end
end

-- A state of which so many units are used up now.
local function with_used(r, units)
  units = min(units, r.limit)
  if units == 0 then return {a = 0, b = 0} end
  if r.kind < 2 then return {a = now - now % r.n1, b = units * r.n3} end
  if r.kind < 5 then return {a = window(r, now), b = units} end
  add_units(r, units, now)
  return {a = now, b = units}
end

-- ceil(x * y / z) for x < z, where x * y may be too large.
local function scaled(x, y, z)
  local bits, quotient, rest = {}, 0, 0
  while y > 0 do
    bits[#bits + 1] = y % 2
    y = floor(y / 2)
  end
  for i = #bits, 1, -1 do
    quotient, rest = quotient * 2, rest * 2 + bits[i] * x
    while rest >= z do quotient, rest = quotient + 1, rest - z end
  end
  return rest > 0 and quotient + 1 or quotient
end

-- What a state of another rule is by this one (LimitRule::Convert).
local function convert(r, old, s)
  if r.text == old.text then return s end
  if r.kind == old.kind and (r.kind > 5 or (r.kind > 1 and r.per == old.per
      and (r.kind ~= 3 or r.n2 == old.n2))) then
    if r.kind == 5 then redis.call('LTRIM', r.store, -r.limit, -1) end
    return s
  end
  if r.kind < 2 and old.kind < 2 then
    local d, t = debt(old, s, now)
    local whole = floor(d / old.n3)
    local mine = whole >= r.limit and r.limit * r.n3
      or whole * r.n3 + scaled(d - whole * old.n3, r.n3, old.n3)
    return {a = t - t % r.n1, b = min(mine, r.limit * r.n3)}
  end
  read(old, s)
  if old.kind > 4 then redis.call('DEL', r.store) end
  if r.kind == 6 or old.kind == 6 then return {a = 0, b = 0} end
  return with_used(r, used(old, s))
end

-- Counts what has been let through already, whether there is room for it or not.
local function add_debt(r, s, at)
  if r.kind < 2 then
    local d, t = debt(r, s, at)
    s.a, s.b = t, min(d + delta * r.n3, 4503599627370495)
  elseif r.kind < 4 then
    local start = window(r, at)
    if s.a > start then return end
    s.b = s.a < start and delta or s.b + delta
    s.a = start
  elseif r.kind == 4 then
    local start = at - at % r.per
    if start >= s.a then
      local _, _, before, count = sliding(r, s, at)
      s.a, s.b = start, before * 67108864 + min(count + delta, 67108863)
    elseif start == s.a - r.per then
      local before = min(floor(s.b / 67108864) + delta, 67108863)
      s.b = before * 67108864 + s.b % 67108864
    end
  end
end

-- Whether the cost can be had; if so, the state after it, else when (of a log).
local function try(r, s)
  if cost > r.limit then return false end
  if r.kind < 2 then
    local d, t = debt(r, s, now)
    local late = r.kind == 1 and d > 0 and t + ceil(d / r.n2) * r.n1 - now > r.n4
    return cost == 0 or (not late and d + cost * r.n3 <= r.limit * r.n3), t, d + cost * r.n3
  elseif r.kind < 4 then
    local start = window(r, max(s.a, now))
    local count = s.a < start and 0 or s.b
    return cost == 0 or count + cost <= r.limit, start, count + cost
  elseif r.kind == 4 then
    local units, start, before, count = sliding(r, s, now)
    return cost == 0 or units + cost * r.n2 <= r.limit * r.n2, start, before * 67108864 + count + cost
  end
  local over = s.b + cost - r.limit
  if r.kind == 5 and over > 0 and cost > 0 then
    s.again = tonumber(redis.call('LINDEX', r.store, over - 1))
  end
  return cost == 0 or over <= 0, max(s.a, now), s.b + cost
end

-- When nothing of the state counts any more.
local function idle_at(r, a, b)
  if b == 0 then return 0 end
  if r.kind < 2 then return a + ceil(b / r.n2) * r.n1 end
  if r.kind == 4 then return a + (b % 67108864 > 0 and 2 or 1) * r.per end
  if r.kind == 5 then return a + r.per end
  if r.kind == 6 then return now + tonumber(ARGV[5] or 0) end
  local _, stop = window(r, a)
  return stop
end

local function expire_after(till)
  return ceil((till - now) / 1000) + 1
end

-- The rules, and the states by them. Whether they were kept by other rules.
local function load(value)
  local rules, states, converted = {}, {}, false
  local old_size = value and #value / 4 * 3 or 0
  if value and (old_size % 48 > 0 or old_size == 0) then
    return nil
  end
  for i = 1, size / 48 do
    local r, s = rule(desc, i), {a = 0, b = 0}
    if value and 48 * i <= old_size then
      s.a, s.b = unpack_('<dd', value, old_size + 16 * i - 15)
      if s.a > latest then s.a, s.b = 0, 0 end
      local old = rule(value, i)
      if old.text ~= r.text then
        s = convert(r, old, s)
        converted = true
      end
    end
    read(r, s)
    rules[i], states[i] = r, s
  end
  for i = size / 48 + 1, old_size / 48 do
    if rule(value, i).kind > 4 then redis.call('DEL', key .. ':' .. i) end
    converted = true
  end
  return rules, states, converted
end

-- The states beside what they are of, for as long as any of them counts.
local function save(rules, states)
  local text, till = {desc}, 0
  for i, r in ipairs(rules) do
    local s = states[i]
    text[i + 1] = struct.pack('<dd', s.a, r.kind > 4 and 0 or s.b)
    local idle = idle_at(r, s.a, s.b)
    if idle > till then till = idle end
    if r.kind > 4 and s.b > 0 then redis.call('PEXPIRE', r.store, expire_after(idle)) end
  end
  if till > now then
    redis.call('SET', key, table.concat(text), 'PX', expire_after(till))
  else
    redis.call('DEL', key)
  end
end
)lua";

inline constexpr std::string_view kLuaTakeAll = R"lua(local rules, states, converted = load(value)
if not rules then return redis.error_reply('LIMIT ' .. key .. ' holds something else') end
local allowed, after, reply = true, {}, {1, now}
for i, r in ipairs(rules) do
  local s = states[i]
  if delta > 0 then add_debt(r, s, min(tonumber(ARGV[4]), now)) end
  local ok, a, b = try(r, s)
  allowed = allowed and ok
  after[i] = {a = a, b = b}
  reply[#reply + 1] = s.a
  reply[#reply + 1] = s.b
  if r.kind == 5 then reply[#reply + 1] = s.again or 0 end
end
if not allowed then reply[1] = 0 end
if allowed and cost > 0 then
  for i, r in ipairs(rules) do
    if r.kind == 5 then
      add_units(r, cost, after[i].a)
    elseif r.kind == 6 then
      for j = 1, cost do
        redis.call('ZADD', r.store, now + tonumber(ARGV[5]), ARGV[6] .. (j > 1 and '.' .. j or ''))
      end
    end
  end
  save(rules, after)
elseif delta > 0 or converted then
  save(rules, states)
end
return reply
)lua";

inline constexpr std::string_view kLuaGiveBack = R"lua(local value = redis.call('GET', key)
if not value or #value ~= size / 3 * 4 or string.sub(value, 1, size) ~= desc then return 0 end
local taken = max(now - tonumber(ARGV[4]), 0)
local rules, states = load(value)
for i, r in ipairs(rules) do
  local s = states[i]
  if r.kind < 2 then
    local d, t = debt(r, s, now)
    local back = max(0, floor(now / r.n1) - floor(taken / r.n1)) * r.n2
    local whole = min(cost, r.limit) * r.n3
    if back < whole then s.a, s.b = t, max(0, d - (whole - back)) end
  elseif r.kind < 4 then
    if window(r, max(s.a, now)) <= s.a and taken >= s.a then s.b = max(0, s.b - cost) end
  elseif r.kind == 4 then
    local _, start, before, count = sliding(r, s, now)
    if taken >= start then
      s.a, s.b = start, before * 67108864 + max(0, count - cost)
    elseif taken + r.per >= start then
      s.a, s.b = start, max(0, before - cost) * 67108864 + count
    end
  elseif r.kind == 5 then
    -- When it was taken is known so well; an older unit goes rather than a newer one.
    local first, last, since = 0, s.b, taken - tonumber(ARGV[6])
    while first < last do
      local middle = floor((first + last) / 2)
      if tonumber(redis.call('LINDEX', r.store, middle)) < since then
        first = middle + 1
      else
        last = middle
      end
    end
    if taken + r.per > max(now, s.a) then
      for _, unit in ipairs(redis.call('LRANGE', r.store, first, first + cost - 1)) do
        redis.call('LREM', r.store, 1, unit)
      end
      read(r, s)
    end
  end
end
save(rules, states)
return 1
)lua";

// ARGV: the rules, the lease, names.
inline constexpr std::string_view kLuaRenew = R"lua(
local desc, lease = ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local left = math.ceil(lease / 1000) + 1
for i = 1, #desc / 48 do
  if struct.unpack('<d', desc, 48 * i - 47) == 6 then
    local store = KEYS[1] .. ':' .. i
    for j = 3, #ARGV do redis.call('ZADD', store, now + lease, ARGV[j]) end
    redis.call('PEXPIRE', store, left)
  end
end
local ttl = redis.call('PTTL', KEYS[1])
if ttl == -2 then
  redis.call('SET', KEYS[1], desc .. string.rep('\0', #desc / 3), 'PX', left)
elseif ttl < left then
  redis.call('PEXPIRE', KEYS[1], left)
end
return 1
)lua";

// ARGV: the rules, names.
inline constexpr std::string_view kLuaRelease = R"lua(
local desc = ARGV[1]
for i = 1, #desc / 48 do
  if struct.unpack('<d', desc, 48 * i - 47) == 6 then
    for j = 2, #ARGV do redis.call('ZREM', KEYS[1] .. ':' .. i, ARGV[j]) end
  end
end
return 1
)lua";

}  // namespace gatehouse::filters
