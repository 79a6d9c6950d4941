#!lua
-- Begins a session: from now on only its appends are taken from this node. Makes the log's meta if there is none, and
-- tells every node that listens.
--
-- KEYS: meta, live.  ARGV: node, session, an epoch in case there is none, the format version, live words kept.
local meta, live = KEYS[1], KEYS[2]
if redis.call('HGET', meta, 'w:(filling)') then
  return redis.error_reply('FILLING entries of another log are being brought in')
end
redis.call('HSETNX', meta, 'version', ARGV[4])
redis.call('HSET', meta, 'w:' .. ARGV[1], ARGV[2])
if redis.call('HSETNX', meta, 'epoch', ARGV[3]) == 1 then
  redis.call('XADD', live, 'MAXLEN', '~', ARGV[5], '*', 'e', ARGV[3])
end
return redis.status_reply('OK')
