-- read: some reads as of one moment, where a full server has no room to queue them as a MULTI (Redis has none).
-- KEYS  every key that the commands name
-- ARGV  for each command: how many words, and the words
-- Returns the replies, in order; this script answers with no word of its own, since it decides nothing
-- Repeating is safe: it only reads.
local replies, at = {}, 1
while at <= #ARGV do
  local last = at + tonumber(ARGV[at])
  replies[#replies + 1] = redis.call(unpack(ARGV, at + 1, last))
  at = last + 1
end
return replies
