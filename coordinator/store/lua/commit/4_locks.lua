-- Step 4 and 5, locks: every lock that came along must still be held; no other live lock may overlap a written path.
local function hash(name) -- which locks it is among: a commit looks through those of paths, so no others stand there
  return string.sub(name, 1, 6) == 'state/' and 6 or 7
end
local held = {}
for _ = 1, count() do
  local name, token = take(), take()
  local value = redis.call('HGET', KEYS[hash(name)], name)
  local current, deadline = string.match(value or '', '^(%d+) (%d+) ')
  if current ~= token or tonumber(deadline) <= now_ms then
    return {'FENCED', 'lock', name, current or ''}
  end
  held[name] = true
end
local paths = {}
for n = 1, count() do
  paths[n] = take()
end
-- 'state/shop.k3f9/a' covers 'state/shop.k3f9/a', '…/a.b' and '…/a[0]'; a path '$' covers its whole document.
local function covers(outer, inner)
  if outer == inner then
    return true
  end
  if string.sub(outer, -2) == '/$' then
    return string.sub(inner, 1, #outer - 1) == string.sub(outer, 1, -2)
  end
  local follows = string.sub(inner, #outer + 1, #outer + 1)
  return (follows == '.' or follows == '[') and string.sub(inner, 1, #outer) == outer
end
if #paths > 0 and redis.call('HLEN', KEYS[6]) > 0 then
  local locks = redis.call('HGETALL', KEYS[6])
  for n = 1, #locks, 2 do
    local name = locks[n]
    local deadline, owner = string.match(locks[n + 1], '^%d+ (%d+) %d+ %d+ (.*)$')
    if not held[name] and (tonumber(deadline) or 0) > now_ms then
      for _, path in ipairs(paths) do
        if covers(name, path) or covers(path, name) then
          return {'LOCKED', name, owner, deadline}
        end
      end
    end
  end
end
