#!lua
-- Begins, goes on with or ends the filling of a log that no node has begun a session on. The entries come by load.lua.
--
-- KEYS: log, meta.  ARGV: session, epoch, format version, what: `half` if it must be empty or half filled, `any` if it may
--   be whole too, `end`.
-- Answer: {0, 1 if it was whole before}, or nothing was changed: {1, the other epoch}, {2, a node that has used it}, {3} it has entries, {4} another
--   process fills it.
local log, meta = KEYS[1], KEYS[2]
local session, epoch, version, what = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local held = redis.call('HMGET', meta, 'epoch', 'w:(filling)')
if what == 'end' then
  if held[1] ~= epoch then return {1, held[1] or ''} end
  if held[2] ~= session then return {4} end
  redis.call('HDEL', meta, 'w:(filling)')
  return {0}
end
for _, field in ipairs(redis.call('HKEYS', meta)) do
  if string.sub(field, 1, 2) == 'w:' and field ~= 'w:(filling)' then return {2, string.sub(field, 3)} end
end
if held[1] and held[1] ~= epoch then return {1, held[1]} end
local there = redis.call('EXISTS', log) == 1
if not held[1] and there then return {3} end
if held[1] and not held[2] and what == 'half' then return {3} end
redis.call('HSET', meta, 'epoch', epoch, 'version', version, 'w:(filling)', session)
return {0, held[1] and not held[2] and 1 or 0}
