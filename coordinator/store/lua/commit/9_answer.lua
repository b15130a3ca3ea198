-- Step 6, ended: carry out the writes, note that somebody was heard, remember the request, publish.
for _, entry in ipairs(writes) do
  write[entry[1]](unpack(entry[2]))
end
hear(1, now_ms)
redis.call('HSET', KEYS[1], 'revision', revision, 'server', server or known or '', 'at', text(now_us), 'layout', LAYOUT)
redis.call('SET', KEYS[3], digest .. ' ' .. revision .. ' ' .. filled(answer), 'PX', memory_ms)
for _, entry in ipairs(published) do
  redis.call('PUBLISH', entry[1], entry[2])
end
return {'OK', revision, text(now_us)}
