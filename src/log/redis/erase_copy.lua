#!lua
-- Copies the next entries of the log, some without their bodies; and at the end puts the copy in its place.
--
-- KEYS: log, meta, copy, lock, old, live.
-- ARGV: node, session, epoch, token, for how many ms it holds, the last position copied, most entries, about the most
--   bytes, the live id before which words go, then for each entry to be erased in this page: id, what its body begins with,
--   the body's length.
-- Answer: {0, last position copied}; {1, epoch} or {2, session} as append.lua; {3, the token that holds}: nothing was
--   changed; {4, why not}; {5, last position}: the copy is the log now.
-- So that nothing is lost the page that reaches the end is the one that puts it in place, in the same step.
local log, meta, copy, lock, old, live = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local call = redis.call
local holds = call('HMGET', meta, 'epoch', 'w:' .. ARGV[1])
if holds[1] ~= ARGV[3] then return {1, holds[1] or ''} end
if holds[2] ~= ARGV[2] then return {2, holds[2] or ''} end
local holder = call('GET', lock)
if holder ~= ARGV[4] then return {3, holder or ''} end
local last, entries_max, bytes_max = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local function id_of(seq) return string.format('%.0f-0', seq) end
local function info_of(key)
  local info, flat = {}, call('XINFO', 'STREAM', key)
  for i = 1, #flat, 2 do info[flat[i]] = flat[i + 1] end
  return info
end
-- What was copied must be there: a server that evicts, or somebody else, may have removed it.
local before = tonumber(call('HGET', meta, 'base') or '1') - 1
if last > before and (call('EXISTS', copy) == 0 or info_of(copy)['last-generated-id'] ~= id_of(last)) then
  return {4, 'the copy is not what it was'}
end
local begins, lengths = {}, {}
for i = 10, #ARGV, 3 do begins[ARGV[i]], lengths[ARGV[i]] = ARGV[i + 1], tonumber(ARGV[i + 2]) end

local copied, bytes, at_end = 0, 0, false
while not at_end and copied < entries_max and bytes < bytes_max do
  local page = call('XRANGE', log, id_of(last + 1), '+', 'COUNT', 64)
  at_end = #page < 64
  for _, entry in ipairs(page) do
    local id, fields = entry[1], entry[2]
    if id ~= id_of(last + 1) then return {4, 'entry ' .. id .. ' does not follow position ' .. id_of(last)} end
    for i = 1, #fields, 2 do
      if fields[i] == 'd' then
        local body = fields[i + 1]
        if begins[id] then
          if #body ~= lengths[id] then return {4, 'entry ' .. id .. ' is not what it was'} end
          fields[i + 1] = begins[id] .. string.rep('\0', #body - #begins[id])
        end
        bytes = bytes + #body
      end
    end
    call('XADD', copy, id, unpack(fields))
    last = last + 1
  end
  copied = copied + #page
end
if not at_end then
  call('PEXPIRE', lock, ARGV[5])
  return {0, last}
end

local whole, made = info_of(log), info_of(copy)
if whole['length'] ~= made['length'] or whole['last-generated-id'] ~= made['last-generated-id'] then
  return {4, 'the copy has ' .. made['length'] .. ' entries, the log ' .. whole['length']}
end
if whole['groups'] > 0 then return {4, 'it has consumer groups, which are not ours; remove them with XGROUP DESTROY'} end
if whole['entries-added'] and whole['max-deleted-entry-id'] then
  call('XSETID', copy, whole['last-generated-id'], 'ENTRIESADDED', whole['entries-added'], 'MAXDELETEDID',
    whole['max-deleted-entry-id'])
end
-- Freed in the background; to write over it would hold everybody up.
call('RENAME', log, old)
call('RENAME', copy, log)
call('UNLINK', old, lock)
-- Words of replies that were erased may be among the live ones.
redis.pcall('XTRIM', live, 'MINID', ARGV[9])
return {5, last}
