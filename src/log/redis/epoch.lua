#!lua
-- Starts a new epoch unless somebody else did, and tells every node that listens.
--
-- KEYS: meta, live, log.  ARGV: the epoch it replaces, the new one, format version, live words kept, `empty` if the log
--   must be empty (then whatever epoch there is is replaced, and meta says that a person accepted it).
-- Answer: the epoch that holds now, or nothing if the log is not empty.
local meta, live, log = KEYS[1], KEYS[2], KEYS[3]
local empty = ARGV[5] == 'empty'
if empty and redis.call('EXISTS', log) == 1 and redis.call('XLEN', log) > 0 then return false end
if empty or redis.call('HGET', meta, 'epoch') == ARGV[1] then
  redis.call('HSET', meta, 'epoch', ARGV[2], 'version', ARGV[3])
  if empty then redis.call('HSET', meta, 'accepted', ARGV[2]) end
  redis.call('XADD', live, 'MAXLEN', '~', ARGV[4], '*', 'e', ARGV[2])
end
return redis.call('HGET', meta, 'epoch')
