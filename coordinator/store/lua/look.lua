-- look: what has a deadline next, by somebody who watches. That the server answered is noted: no silence since then.
-- KEYS  1 meta · 2 deadlines
-- ARGV  none
-- Returns {'SILENT' | 'OK', now_us, the soonest deadline in ms or ''}: SILENT when leases may have run out in a silence
-- Repeating is safe: it only notes that the server was reached again.
local clock = redis.call('TIME')
local now_us = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local now_ms = math.floor(now_us / 1000)
local soonest = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
local word = 'OK'
if redis.call('EXISTS', KEYS[1]) == 1 then
  local _, to = hear(1, now_ms)
  redis.call('HSET', KEYS[1], 'heard', string.format('%.0f', now_ms))
  if now_ms - to <= RECENT_MS then
    word = 'SILENT'
  end
end
return {word, string.format('%.0f', now_us), soonest[2] or ''}
