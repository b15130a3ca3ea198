-- Step 6, begun: the revision, then the events. They come first of all writes, since appending can fail.
local revision = text(math.max(last + 1, now_us))
local function filled(value) -- by plain search: a pattern is tried at every byte, which was half of a commit's time
  local from, to
  if #value >= #mark then
    from, to = string.find(value, mark, 1, true)
  end
  if not from then
    return value
  end
  local parts, at = {}, 1
  while from do
    if string.sub(value, from - 1, from - 1) == '"' and string.sub(value, to + 1, to + 1) == '"' then
      from, to = from - 1, to + 1 -- alone in a text of JSON it becomes a number
    end
    parts[#parts + 1] = string.sub(value, at, from - 1)
    parts[#parts + 1] = revision
    at = to + 1
    from, to = string.find(value, mark, at, true)
  end
  parts[#parts + 1] = string.sub(value, at)
  return table.concat(parts)
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
