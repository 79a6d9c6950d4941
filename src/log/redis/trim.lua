#!lua
-- Moves the log's beginning up, a step at a time.
--
-- KEYS: log, meta, erasing.  ARGV: node, session, epoch, the new base, how many of the newest entries must stay.
-- Answer: {0, the base now}; {1, epoch} or {2, session} as append.lua; {3, last position}: too many would go; {4, the token
--   of the erasing under way}. But for 0 nothing was changed.
local log, meta, erasing = KEYS[1], KEYS[2], KEYS[3]
local holds = redis.call('HMGET', meta, 'epoch', 'w:' .. ARGV[1], 'base')
if holds[1] ~= ARGV[3] then return {1, holds[1] or ''} end
if holds[2] ~= ARGV[2] then return {2, holds[2] or ''} end
local base, now = tonumber(ARGV[4]), tonumber(holds[3] or '1')
if base <= now then return {0, now} end
-- A copy that is being made begins where the log begins.
local token = redis.call('GET', erasing)
if token then return {4, token} end
local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
local tail = last and tonumber(string.match(last[1], '^(%d+)%-0$')) or 0
if base - 1 + tonumber(ARGV[5]) > tail then return {3, tail} end
redis.call('HSET', meta, 'base', ARGV[4])
redis.call('XTRIM', log, 'MINID', ARGV[4] .. '-0')
return {0, base}
