-- commit: one change of a project's records, all or nothing. The steps stand in the files of this folder, joined in order.
-- KEYS  1 meta · 2 events · 3 request · 4 leases · 5 deadlines · 6 locks of paths · 7 all other locks
--       8 uses · 9 in_use · 10… the keys that the arguments name by number
-- ARGV  mark, digest, not_after_us, memory_ms, adopt, answer, event_limit,
--       then four lists, each a count and its entries: held locks, written paths, checks, writes; then the events
-- The mark is a random word; wherever it stands in a written text, this commit's revision is put in its place.
-- Returns {'OK', revision, now_us} or {WORD, facts…} with nothing changed:
--       SEEN LATE RESTARTED FENCED LOCKED CONFLICT FULL
-- Repeating is safe: the request is remembered in the same step as its effect, and asked for first.
local redis, KEYS, ARGV, string, tonumber = redis, KEYS, ARGV, string, tonumber -- found faster than what is global
local at = 0
local function take()
  at = at + 1
  return ARGV[at]
end
local function count()
  return tonumber(take())
end
-- Lua's own formatting of a number keeps 14 digits; revisions have 16.
local function text(number)
  return string.format('%.0f', number)
end

local mark, digest, not_after_us, memory_ms = take(), take(), count(), take()
local adopt, answer, event_limit = take(), take(), take()
local clock = redis.call('TIME')
local now_us = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
local now_ms = math.floor(now_us / 1000)
