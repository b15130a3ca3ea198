-- Step 6, what a holder uses: under its member '<since_ms> <who>' and a line '<amount> <thing>' for each thing; under
-- each thing the sum of all. It hangs on the lease: whatever ends that gives it back. Nothing here may fail, since
-- writes came before: what somebody else broke is left to `validate`.
local function summed(used, sign)
  for amount, thing in string.gmatch(used, '\n(%d+) ([^\n]+)') do
    if redis.pcall('HINCRBY', KEYS[9], thing, sign .. amount) == 0 then
      redis.pcall('HDEL', KEYS[9], thing)
    end
  end
end
local function give_back(member)
  local used = redis.pcall('HGET', KEYS[8], member)
  if type(used) == 'string' then
    summed(used, '-')
    redis.call('HDEL', KEYS[8], member)
  end
end
function write.use(member, used)
  give_back(member)
  summed(used, '')
  redis.pcall('HSET', KEYS[8], member, used)
end
