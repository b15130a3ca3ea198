-- Step 3: a server that restarted or was replaced may have lost its last writes. Nothing is committed on top of that
-- until somebody has adopted the new server: the revision jumps ahead, so that no revision is issued twice.
local function identity()
  local server, replication = redis.pcall('INFO', 'server'), redis.pcall('INFO', 'replication')
  if type(server) ~= 'string' or type(replication) ~= 'string' then
    return nil -- a server without INFO (the fake), or a user who may not ask: the check cannot be made
  end
  return string.match(server, 'run_id:(%x+)') .. '/' .. (string.match(replication, 'master_replid:(%x+)') or '')
end
local meta = redis.call('HMGET', KEYS[1], 'revision', 'server', 'at')
local last, known, server = tonumber(meta[1] or '0'), meta[2], identity()
if server and known and known ~= server then
  if adopt ~= known then
    return {'RESTARTED', known, server, text(last)}
  end
  -- and by the time since the last commit that it knows: a first adoption may itself be lost by a second crash
  last = last + 1000000000 + math.max(0, now_us - tonumber(meta[3] or text(now_us)))
end
