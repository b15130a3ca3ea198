-- Step 1 and 2: a request that was carried out before, and one that the network delivers too late.
local seen = redis.call('GET', KEYS[3])
if seen then
  return {'SEEN', seen}
end
if now_us > not_after_us then
  return {'LATE', text(now_us)}
end
