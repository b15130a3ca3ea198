-- renew: more time for a lease, by the holder alone. No revision, no event.
-- KEYS  1 leases · 2 deadlines · 3 alive (a string with a TTL; '' semantics: see ARGV 4) · 4 meta
-- ARGV  member, token, ttl_ms ('' keeps the lease's own), load ('' writes no alive key), grace ('1' also when passed)
-- Returns {'OK', deadline_ms, now_ms} | {'LOST', current token or ''} when it is another's, ended, or passed and not
-- spared because of a silence of the server
-- Repeating is safe: it only moves the holder's own deadline ahead.
local clock = redis.call('TIME')
local now_ms = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local token, deadline, own_ttl = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '', '^(%d+) (%d+) (%d+)$')
if token ~= ARGV[2] then
  return {'LOST', token or ''}
end
local from, to = hear(4, now_ms)
redis.call('HSET', KEYS[4], 'heard', string.format('%.0f', now_ms))
deadline = tonumber(deadline)
if deadline <= now_ms and ARGV[5] ~= '1' and not spared(from, to, deadline, tonumber(own_ttl), now_ms) then
  return {'LOST', token}
end
local ttl = ARGV[3] ~= '' and ARGV[3] or own_ttl
local new = string.format('%.0f', now_ms + tonumber(ttl))
redis.call('HSET', KEYS[1], ARGV[1], token .. ' ' .. new .. ' ' .. ttl)
redis.call('ZADD', KEYS[2], new, ARGV[1])
if ARGV[4] ~= '' then
  redis.call('SET', KEYS[3], ARGV[4], 'PX', ttl)
end
return {'OK', new, string.format('%.0f', now_ms)}
