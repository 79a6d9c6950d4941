#!lua
-- Begins a session: from now on only its appends are taken from this node. Makes the log's meta if there is none.
--
-- KEYS: meta.  ARGV: node, session, an epoch in case there is none, the format version.
-- Answer: {epoch, format version}.
local meta = KEYS[1]
redis.call('HSETNX', meta, 'epoch', ARGV[3])
redis.call('HSETNX', meta, 'version', ARGV[4])
redis.call('HSET', meta, 'w:' .. ARGV[1], ARGV[2])
return redis.call('HMGET', meta, 'epoch', 'version')
