-- Step 6, begun: the revision, then the events. They come first of all writes, since appending can fail.
local revision = text(math.max(last + 1, now_us))
local function filled(value)
  if string.find(value, mark, 1, true) then
    value = string.gsub(string.gsub(value, '"' .. mark .. '"', revision), mark, revision)
  end
  return value
end
local writes = {}
for n = 1, count() do
  local name, arity = take(), count()
  local arguments = {}
  for m = 1, arity do
    arguments[m] = filled(take())
  end
  writes[n] = {name, arguments}
end
local published = {}
for n = 1, count() do
  local type_, session, channel, json = take(), take(), take(), filled(take())
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', event_limit, revision .. '-' .. (n - 1),
    'type', type_, 'session', session, 'json', json)
  published[n] = {channel, json}
end
