-- Step 6, indexes: hints that only a commit maintains.
function write.lease(member, token, ttl_ms) -- held until now + ttl by this epoch, incarnation or session
  local deadline = text(now_ms + tonumber(ttl_ms))
  redis.call('HSET', KEYS[4], member, token .. ' ' .. deadline .. ' ' .. ttl_ms)
  redis.call('ZADD', KEYS[5], deadline, member)
end
function write.unlease(member)
  give_back(member)
  redis.call('HDEL', KEYS[4], member)
  redis.call('ZREM', KEYS[5], member)
end
function write.noticed(member) -- the passed deadline was acted on; the lease stays readable
  redis.call('ZREM', KEYS[5], member)
end
function write.zadd(key, member, score)
  redis.call('ZADD', KEYS[tonumber(key)], score, member)
end
function write.zrem(key, member)
  redis.call('ZREM', KEYS[tonumber(key)], member)
end
function write.sadd(key, member)
  redis.call('SADD', KEYS[tonumber(key)], member)
end
function write.srem(key, member)
  redis.call('SREM', KEYS[tonumber(key)], member)
end
function write.hset(key, field, value)
  redis.call('HSET', KEYS[tonumber(key)], field, value)
end
function write.hdel(key, field)
  redis.call('HDEL', KEYS[tonumber(key)], field)
end
function write.add(key, field, amount) -- a count; zero leaves no field behind
  if redis.call('HINCRBY', KEYS[tonumber(key)], field, amount) == 0 then
    redis.call('HDEL', KEYS[tonumber(key)], field)
  end
end
function write.arrive(waiting, dependency, ready, task, rank) -- the last dependency to arrive makes the task ready
  local removed = redis.call('SREM', KEYS[tonumber(waiting)], dependency)
  if removed == 1 and redis.call('EXISTS', KEYS[tonumber(waiting)]) == 0 then
    redis.call('ZADD', KEYS[tonumber(ready)], rank, task)
  end
end
function write.lock(name, ttl_ms, owner)
  local deadline = text(now_ms + tonumber(ttl_ms))
  local times = revision .. ' ' .. deadline .. ' ' .. text(now_ms) .. ' ' .. ttl_ms
  redis.call('HSET', KEYS[hash(name)], name, times .. ' ' .. owner)
  redis.call('ZADD', KEYS[5], deadline, 'lock/' .. name)
end
function write.extend(name, ttl_ms) -- the same token for longer
  local value = redis.call('HGET', KEYS[hash(name)], name)
  local token, acquired, owner = string.match(value, '^(%d+) %d+ (%d+) %d+ (.*)$')
  local deadline = text(now_ms + tonumber(ttl_ms))
  redis.call('HSET', KEYS[hash(name)], name, token .. ' ' .. deadline .. ' ' .. acquired .. ' ' .. ttl_ms .. ' ' .. owner)
  redis.call('ZADD', KEYS[5], deadline, 'lock/' .. name)
end
function write.unlock(name)
  redis.call('HDEL', KEYS[hash(name)], name)
  redis.call('ZREM', KEYS[5], 'lock/' .. name)
end
