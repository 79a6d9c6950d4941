#!lua
-- load: takes entries over verbatim, if they continue where the log ends.
--
-- KEYS: log, meta.  ARGV: node, session, epoch, first position, time of the first entry, count, then for each entry:
--   kind, subjects, room, time, version, request, body.
-- Answer: {0} or {1, epoch} or {2, session} as append.lua, or {3, last position, its time}: nothing was written.
local log, meta = KEYS[1], KEYS[2]
local holds = redis.call('HMGET', meta, 'epoch', 'w:' .. ARGV[1])
if holds[1] ~= ARGV[3] then return {1, holds[1] or ''} end
if holds[2] ~= ARGV[2] then return {2, holds[2] or ''} end
local seq, tail, tail_at = tonumber(ARGV[4]), 0, 0
local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
if last then
  tail = tonumber(string.match(last[1], '^(%d+)%-0$'))
  for i = 1, #last[2], 2 do
    if last[2][i] == 't' then tail_at = tonumber(last[2][i + 1]) end
  end
  if not tail or not tail_at then return redis.error_reply('DAMAGED ' .. log .. ' ends with ' .. last[1]) end
end
if seq ~= tail + 1 or tonumber(ARGV[5]) < tail_at then return {3, tail, tail_at} end
for i = 7, 6 + 7 * tonumber(ARGV[6]), 7 do
  redis.call('XADD', log, string.format('%.0f-0', seq), 'k', ARGV[i], 's', ARGV[i + 1], 'r', ARGV[i + 2], 't', ARGV[i + 3],
    'v', ARGV[i + 4], 'q', ARGV[i + 5], 'd', ARGV[i + 6])
  seq = seq + 1
end
return {0}
