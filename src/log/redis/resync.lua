#!lua
-- Rebuilds lanes, if the log still ends at the position that they are compared at.
--
-- KEYS: log, meta, lanes, then the lanes.
-- ARGV: node, session, epoch, the position, then for each lane: taken (n; position, message, worker),
--   waiting (n; position, message).
-- Answer: {0}, {1, epoch} or {2, session} as append.lua, or {3, last id}: nothing was changed.
local log, meta, lanes = KEYS[1], KEYS[2], KEYS[3]
local holds = redis.call('HMGET', meta, 'epoch', 'w:' .. ARGV[1])
if holds[1] ~= ARGV[3] then return {1, holds[1] or ''} end
if holds[2] ~= ARGV[2] then return {2, holds[2] or ''} end
local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
last = last and last[1] or '0-0'
if last ~= ARGV[4] .. '-0' then return {3, last} end

local at = 4
local function arg()
  at = at + 1
  return ARGV[at]
end

local kind = redis.call('TYPE', lanes).ok
if kind ~= 'none' and kind ~= 'set' then redis.call('DEL', lanes) end
for i = 4, #KEYS do
  local lane = KEYS[i]
  redis.call('DEL', lane)
  redis.call('XGROUP', 'CREATE', lane, 'workers', '0', 'MKSTREAM')
  for _ = 1, tonumber(arg()) do
    redis.call('XADD', lane, arg() .. '-0', 'm', arg())
    redis.call('XREADGROUP', 'GROUP', 'workers', arg(), 'COUNT', 1, 'STREAMS', lane, '>')
  end
  for _ = 1, tonumber(arg()) do redis.call('XADD', lane, arg() .. '-0', 'm', arg()) end
  if redis.call('XLEN', lane) > 0 then
    redis.call('SADD', lanes, lane)
  else
    redis.call('DEL', lane)
    redis.call('SREM', lanes, lane)
  end
end
return {0}
