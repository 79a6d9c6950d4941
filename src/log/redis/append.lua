#!lua
-- append_if: judges a batch of appends and writes those that may be written, in one step.
--
-- KEYS: log, meta, lanes, then the lanes that the batch moves on.
-- ARGV: node, session, epoch, now_ms (0: this server's clock), scan_max, 1 if no lane may be taken from, 1 if any append
--   has subjects, count, then for each append: after, request, how many subjects, moves and drafts, then those:
--   a subject is an id; a move is P lane draft id, T lane since worker or D lane since -, the lane being its place among
--   KEYS; a draft is kind, subjects, room, version, body. All of fixed width, so that most is only passed on.
-- Answer: {0, tail before, at_ms, a code for each append, 1 if a lane command failed, entries missed}
--   or {1, epoch} or {2, session} if the caller's is not the one that holds: nothing was written.
-- Codes: A appended, C conflict, B behind, D diverged, O out of step.
local KEYS, ARGV, call = KEYS, ARGV, redis.call
local log, meta, lanes = KEYS[1], KEYS[2], KEYS[3]
local holds = call('HMGET', meta, 'epoch', 'w:' .. ARGV[1])
if holds[1] ~= ARGV[3] then return {1, holds[1] or ''} end
if holds[2] ~= ARGV[2] then return {2, holds[2] or ''} end
local scan_max, lanes_doubtful, any_subjects = tonumber(ARGV[5]), ARGV[6] == '1', ARGV[7] == '1'

local function field(entry, name)
  local fields = entry[2]
  for i = 1, #fields, 2 do
    if fields[i] == name then return fields[i + 1] end
  end
end

local function seq_of(id) return tonumber(string.match(id, '^(%d+)%-0$')) end
local function id_of(seq) return string.format('%.0f-0', seq) end

local tail, tail_at = 0, 0
local last = call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
if last then
  tail, tail_at = seq_of(last[1]), tonumber(field(last, 't'))
  if not tail or not tail_at then return redis.error_reply('DAMAGED ' .. log .. ' ends with ' .. last[1]) end
end
local now = tonumber(ARGV[4])
if now == 0 then
  local time = call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
local tail_before, at = tail, math.max(now, tail_at)
local at_text = string.format('%.0f', at)

-- Which subject was last touched where, for the entries from `scanned` on.
local touched, scanned, missed = {}, tail + 1, {}
local function touch(subjects, seq)
  if #subjects == 36 then
    touched[subjects] = math.max(touched[subjects] or 0, seq)
    return
  end
  for subject in string.gmatch(subjects, '%S+') do
    if not touched[subject] or touched[subject] < seq then touched[subject] = seq end
  end
end
local function scan(after)
  if after + 1 >= scanned then return true end
  local expected = after
  for _, entry in ipairs(call('XRANGE', log, id_of(after + 1), id_of(scanned - 1))) do
    local seq = seq_of(entry[1])
    expected = expected + 1
    if seq ~= expected then return false end
    missed[seq] = entry
    touch(field(entry, 's') or '', seq)
  end
  if expected + 1 ~= scanned then return false end
  scanned = after + 1
  return true
end

-- The id of the first entry of a lane that nobody was given.
local function head(lane)
  local groups = redis.pcall('XINFO', 'GROUPS', lane)
  if groups.err then return nil end
  for _, group in ipairs(groups) do
    local found = {}
    for i = 1, #group, 2 do found[group[i]] = group[i + 1] end
    if found['name'] == 'workers' then
      local first = call('XRANGE', lane, '(' .. found['last-delivered-id'], '+', 'COUNT', 1)[1]
      return first and first[1]
    end
  end
end

-- The lanes of which this batch knows that they are there: no command of it removes one.
local there = {}
-- Lanes are derived: once the entries are written, a lane that cannot follow is resynced later.
local lanes_failed = 0
local function try(...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err then lanes_failed = 1 end
  return answer
end

local codes, conflict_after, i = {}, nil, 9
for n = 1, tonumber(ARGV[8]) do
  local after, request = tonumber(ARGV[i]), ARGV[i + 1]
  local subjects = i + 5
  local moves = subjects + ARGV[i + 2]
  local drafts = moves + 4 * ARGV[i + 3]
  local next_append = drafts + 5 * ARGV[i + 4]

  local code = 'A'
  if tail < after then
    code = 'D'
  elseif moves > subjects then
    if tail - after > scan_max then
      code = 'B'
    else
      if not scan(after) then return redis.error_reply('DAMAGED ' .. log .. ' has a gap') end
      for s = subjects, moves - 1 do
        if (touched[ARGV[s]] or 0) > after then
          code = 'C'
          conflict_after = math.min(conflict_after or after, after)
          break
        end
      end
    end
  end
  if code == 'A' then
    for m = moves, drafts - 1, 4 do
      if ARGV[m] == 'T' and (lanes_doubtful or head(KEYS[tonumber(ARGV[m + 1])]) ~= ARGV[m + 2] .. '-0') then code = 'O' end
    end
  end
  codes[n] = code

  if code == 'A' then
    local before = tail
    for d = drafts, next_append - 1, 5 do
      tail = tail + 1
      call('XADD', log, id_of(tail), 'k', ARGV[d], 's', ARGV[d + 1], 'r', ARGV[d + 2], 't', at_text, 'v', ARGV[d + 3],
        'q', request, 'd', ARGV[d + 4])
      if any_subjects then touch(ARGV[d + 1], tail) end
    end
    for m = moves, drafts - 1, 4 do
      local what, lane, third, fourth = ARGV[m], KEYS[tonumber(ARGV[m + 1])], ARGV[m + 2], ARGV[m + 3]
      if what == 'P' then
        if not there[lane] then
          if call('EXISTS', lane) == 0 then
            try('XGROUP', 'CREATE', lane, 'workers', '0', 'MKSTREAM')
            try('SADD', lanes, lane)
          end
          there[lane] = true
        end
        try('XADD', lane, id_of(before + 1 + third), 'm', fourth)
      elseif what == 'T' then
        local given = try('XREADGROUP', 'GROUP', 'workers', fourth, 'COUNT', 1, 'STREAMS', lane, '>')
        if not given or given.err or given[1][2][1][1] ~= third .. '-0' then lanes_failed = 1 end
      else
        try('XACK', lane, 'workers', third .. '-0')
        try('XDEL', lane, third .. '-0')
      end
    end
  end
  i = next_append
end

local entries = {}
if conflict_after then
  for seq = conflict_after + 1, tail_before do entries[#entries + 1] = missed[seq] end
end
return {0, tail_before, at, table.concat(codes), lanes_failed, entries}
