#!lua
-- What stands on lanes, and where the log ends, at one moment.
--
-- KEYS: log, lanes, then the lanes.
-- Answer: {last position's id, for each lane: 0 if it is not there, 1 if it is no lane, or
--   {1 if it is listed, last id ever, last id given out, {id, message, …}, {id, worker, …}}}
local log, lanes = KEYS[1], KEYS[2]
local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
local answer = {last and last[1] or '0-0'}

local function named(flat)
  local found = {}
  for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] end
  return found
end

local function look(lane)
  local kind = redis.call('TYPE', lane).ok
  if kind == 'none' then return 0 end
  if kind ~= 'stream' then return 1 end
  local group
  for _, found in ipairs(redis.call('XINFO', 'GROUPS', lane)) do
    found = named(found)
    if found['name'] == 'workers' then group = found end
  end
  if not group then return 1 end
  local entries, pending = {}, {}
  for _, entry in ipairs(redis.call('XRANGE', lane, '-', '+')) do
    entries[#entries + 1] = entry[1]
    entries[#entries + 1] = entry[2][1] == 'm' and entry[2][2] or ''
  end
  if group['pending'] > 0 then
    for _, held in ipairs(redis.call('XPENDING', lane, 'workers', '-', '+', group['pending'])) do
      pending[#pending + 1] = held[1]
      pending[#pending + 1] = held[2]
    end
  end
  local listed = redis.pcall('SISMEMBER', lanes, lane)
  local last_id = named(redis.call('XINFO', 'STREAM', lane))['last-generated-id']
  return {listed == 1 and 1 or 0, last_id, group['last-delivered-id'], entries, pending}
end

for i = 3, #KEYS do answer[#answer + 1] = look(KEYS[i]) end
return answer
