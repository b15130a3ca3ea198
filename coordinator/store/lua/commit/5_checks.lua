-- Step 4 and 5, records: fences, everything that was read to decide, deadlines that must have passed, limits.
local check = {}
function check.fence(member, token) -- the lease still belongs to this epoch or incarnation
  local value = redis.call('HGET', KEYS[4], member)
  local current = string.match(value or '', '^(%d+) ')
  return current ~= token and {'FENCED', 'lease', member, current or ''}
end
function check.node(key, field, revision) -- absent counts as revision 0
  local value = redis.call('HGET', KEYS[tonumber(key)], field)
  local current = value and string.match(value, '^(%d+) ') or '0'
  return current ~= revision and {'CONFLICT', field, current}
end
function check.text(key, field, text) -- what nobody could read is still that; '' for what is not there
  return (redis.call('HGET', KEYS[tonumber(key)], field) or '') ~= text and {'CONFLICT', field, ''}
end
function check.section(key, name, structure, changed) -- '' for a part that the decision did not depend on
  local value = redis.call('HGET', KEYS[tonumber(key)], name)
  local is_structure, is_changed = string.match(value or '0 0', '^(%d+) (%d+)')
  local differs = (structure ~= '' and structure ~= is_structure) or (changed ~= '' and changed ~= is_changed)
  return differs and {'CONFLICT', name, is_changed}
end
function check.object(key, name) -- a section that is an object, or not there: its nodes may come and go
  local value = redis.call('HGET', KEYS[tonumber(key)], name)
  return value and string.find(value, '^%d+ %d+ ') and {'CONFLICT', name, value}
end
function check.size(key, size) -- a set that only grows: the same size is the same set
  local current = redis.call('SCARD', KEYS[tonumber(key)])
  return current ~= tonumber(size) and {'CONFLICT', KEYS[tonumber(key)], tostring(current)}
end
function check.passed(member, seen) -- the deadline that was seen has passed, and no renewal came in between
  local deadline = redis.call('ZSCORE', KEYS[5], member)
  local same = deadline and tonumber(deadline) == tonumber(seen) and tonumber(deadline) <= now_ms
  return not same and {'CONFLICT', member, deadline or ''}
end
function check.absent(member) -- nobody holds a lease on it
  local value = redis.call('HGET', KEYS[4], member)
  return value and {'CONFLICT', member, value}
end
function check.exists(key) -- a staged hash: renaming one that is gone would fail in the midst of the writes
  return redis.call('EXISTS', KEYS[tonumber(key)]) == 0 and {'CONFLICT', KEYS[tonumber(key)], ''}
end
function check.lock(name, token) -- '' for a lock that must be free; expired counts as free
  local value = redis.call('HGET', KEYS[hash(name)], name)
  local current, deadline, owner = string.match(value or '', '^(%d+) (%d+) %d+ %d+ (.*)$')
  if token ~= '' then
    return current ~= token and {'FENCED', 'lock', name, current or ''}
  end
  return current and tonumber(deadline) > now_ms and {'LOCKED', name, owner, deadline}
end
