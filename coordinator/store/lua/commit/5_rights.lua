-- A script is stopped where its login lacks a command, and what was written before stays: all is asked for first.
local function lacks(command, ...)
  return not redis.acl_check_cmd(command, KEYS[2], ...) and command
end
if redis.acl_check_cmd then -- the fake has no logins
  local lacking = lacks('XADD', '*', 'f', 'v') or lacks('HSET', 'f', 'v') or lacks('HDEL', 'f')
    or lacks('HINCRBY', 'f', '1') or lacks('SET', 'v') or lacks('SADD', 'm') or lacks('SREM', 'm')
    or lacks('ZADD', '1', 'm') or lacks('ZREM', 'm') or lacks('RENAME', KEYS[2]) or lacks('PERSIST') or lacks('UNLINK')
    or (not redis.acl_check_cmd('PUBLISH', KEYS[2] .. ':*', '') and 'PUBLISH')
  if lacking then
    return {'DENIED', lacking}
  end
end
