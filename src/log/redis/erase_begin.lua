#!lua
-- Begins to copy the log without some bodies, unless somebody else does.
--
-- KEYS: log, meta, copy, lock.  ARGV: node, session, epoch, a token for this attempt, how many ms it holds.
-- Answer: {0, this server's ms since 1970, the position before the first entry}, {1, epoch} or {2, session} as append.lua, {3, the token that holds} or
--   {4, why not}: nothing was changed.
local log, meta, copy, lock = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local holds = redis.call('HMGET', meta, 'epoch', 'w:' .. ARGV[1])
if holds[1] ~= ARGV[3] then return {1, holds[1] or ''} end
if holds[2] ~= ARGV[2] then return {2, holds[2] or ''} end
local holder = redis.call('GET', lock)
if holder and holder ~= ARGV[4] then return {3, holder} end
local info, flat = {}, redis.call('XINFO', 'STREAM', log)
for i = 1, #flat, 2 do info[flat[i]] = flat[i + 1] end
-- A copy has none, so they would be lost.
if info['groups'] > 0 then return {4, 'it has consumer groups, which are not ours; remove them with XGROUP DESTROY'} end
local ids = {info['first-entry'][1], info['last-entry'][1], info['last-generated-id']}
local base = tonumber(redis.call('HGET', meta, 'base') or '1')
local first, last = string.format('%.0f-0', base), string.format('%.0f-0', base - 1 + info['length'])
if ids[1] ~= first or ids[2] ~= ids[3] or ids[2] ~= last then
  return {4, 'entries are missing: it begins with ' .. ids[1] .. ' and ends with ' .. ids[2] .. ', had ' .. ids[3]}
end
redis.call('UNLINK', copy)
redis.call('SET', lock, ARGV[4], 'PX', ARGV[5])
local time = redis.call('TIME')
return {0, tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000), base - 1}
