-- silence: how long nobody was heard. It stands in front of every script; each that writes says so that somebody is.
-- Kept in meta: 'at' and 'heard', when a commit, and when a renewal or a look, came last; 'silent', the longest silence
-- that ended within the last minute, as '<from> <to>'. All in ms, but for 'at'.
local SILENCE_MS, RECENT_MS = 2000, 60000
local function hear(meta, now_ms) -- the number of its key
  local seen = redis.call('HMGET', KEYS[meta], 'at', 'heard', 'silent')
  local last = math.max(math.floor((tonumber(seen[1] or '') or 0) / 1000), tonumber(seen[2] or '') or 0)
  local from, to = string.match(seen[3] or '', '^(%d+) (%d+)$')
  from, to = tonumber(from or '0'), tonumber(to or '0')
  local silent_ms = now_ms - last
  if last > 0 and silent_ms > SILENCE_MS and (silent_ms > to - from or now_ms - to > RECENT_MS) then
    from, to = last, now_ms
    redis.call('HSET', KEYS[meta], 'silent', string.format('%.0f %.0f', from, to))
  end
  return from, to
end
-- Whether a lease that has run out may have done so because the server could not be reached, or its clock jumped: it
-- ended in a silence, or so soon after it that its holder had no time, and the silence was long enough to miss every
-- renewal, of which a program makes one in each third of a lease. Longer leases are renewed by hand, by the way; of
-- less than a second, which no worker has, none outlasts any pause.
local function spared(from, to, deadline_ms, ttl_ms, now_ms)
  local long_enough = ttl_ms >= 1000 and ttl_ms <= RECENT_MS and to - from >= 0.6 * ttl_ms
  return long_enough and deadline_ms > from and deadline_ms <= to + ttl_ms / 3 and now_ms <= to + ttl_ms
end
