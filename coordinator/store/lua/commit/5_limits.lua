-- Step 5, ended: counts with a limit; then all checks are made, in the order in which they were asked for.
function check.room(key, limit, member) -- a set that may hold at most `limit` members, this one included
  local full = redis.call('SCARD', KEYS[tonumber(key)]) >= tonumber(limit)
  return full and redis.call('SISMEMBER', KEYS[tonumber(key)], member) == 0 and {'FULL', KEYS[tonumber(key)], limit}
end
function check.fits(thing, amount, limit) -- what is in use of it, and this amount, are within its limit
  local minute = tonumber(string.match(thing, '^%.starts.*@(%d+)$'))
  if minute and minute ~= math.floor(now_us / 60000000) then
    return {'CONFLICT', thing, text(now_us)} -- it was decided in a minute that is over, whose count is gone
  end
  local used = tonumber(redis.call('HGET', KEYS[9], thing) or '0') or 0
  return used + tonumber(amount) > tonumber(limit) and {'FULL', thing, limit}
end
function check.used(thing, seen) -- as much of it is in use as was seen
  local used = redis.call('HGET', KEYS[9], thing) or '0'
  return used ~= seen and {'CONFLICT', thing, used}
end
for _ = 1, count() do
  local name, arguments = take(), {}
  for n = 1, count() do
    arguments[n] = take()
  end
  local refused = check[name](unpack(arguments))
  if refused then
    return refused
  end
end
