-- Step 6, records: nodes and the sections that list them. A section is '<structure> <changed> [json]'.
local write = {}
local function listed(key) -- a section comes or goes: that changes the list, which has a revision under a name of ours
  redis.call('HSET', KEYS[tonumber(key)], '.sections', revision .. ' ' .. revision)
end
local function touch(key, section, structure_changed)
  local structure = string.match(redis.call('HGET', KEYS[tonumber(key)], section) or '', '^(%d+) ')
  if not structure then
    listed(key)
  end
  structure = (structure_changed or not structure) and revision or structure
  redis.call('HSET', KEYS[tonumber(key)], section, structure .. ' ' .. revision)
end
function write.node(nodes, field, json, sections, section)
  local new = redis.call('HSET', KEYS[tonumber(nodes)], field, revision .. ' ' .. json)
  touch(sections, section, new == 1)
end
function write.drop(nodes, field, sections, section)
  redis.call('HDEL', KEYS[tonumber(nodes)], field)
  touch(sections, section, true)
end
function write.section(sections, section, json) -- '' for an object: its nodes say what is in it
  local value = revision .. ' ' .. revision
  listed(sections)
  redis.call('HSET', KEYS[tonumber(sections)], section, json == '' and value or value .. ' ' .. json)
end
function write.unsection(sections, section)
  listed(sections)
  redis.call('HDEL', KEYS[tonumber(sections)], section)
end
function write.rename(from, to) -- a staged hash takes its place; it is staged only when it has fields
  redis.call('RENAME', KEYS[tonumber(from)], KEYS[tonumber(to)])
  redis.call('PERSIST', KEYS[tonumber(to)])
end
function write.unlink(key)
  redis.call('UNLINK', KEYS[tonumber(key)])
end
