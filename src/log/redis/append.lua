#!lua
-- append_if: judges a batch of appends and writes those that may be written, in one step.
--
-- KEYS: log, meta, lanes, then the lanes that the batch moves on.
-- ARGV: node, session, epoch, now_ms (0: this server's clock), scan_max, 1 if no lane may be taken from, count, then for
--   each append: after, request, subjects (n, ids), drafts (n; kind, subjects, room, version, body),
--   moves (n; P lane draft id | T lane since worker | D lane since), a lane being its place among KEYS.
-- Answer: {0, tail before, at_ms, a code for each append, 1 if a lane command failed, entries missed}
--   or {1, epoch} or {2, session} if the caller's is not the one that holds: nothing was written.
-- Codes: A appended, C conflict, B behind, D diverged, O out of step.
local log, meta, lanes = KEYS[1], KEYS[2], KEYS[3]
local holds = redis.call('HMGET', meta, 'epoch', 'w:' .. ARGV[1])
if holds[1] ~= ARGV[3] then return {1, holds[1] or ''} end
if holds[2] ~= ARGV[2] then return {2, holds[2] or ''} end
local scan_max, lanes_doubtful = tonumber(ARGV[5]), ARGV[6] == '1'

local function field(entry, name)
  local fields = entry[2]
  for i = 1, #fields, 2 do
    if fields[i] == name then return fields[i + 1] end
  end
end

local function seq_of(id) return tonumber(string.match(id, '^(%d+)%-0$')) end
local function id_of(seq) return string.format('%.0f-0', seq) end

local tail, tail_at = 0, 0
local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
if last then
  tail, tail_at = seq_of(last[1]), tonumber(field(last, 't'))
  if not tail or not tail_at then return redis.error_reply('DAMAGED ' .. log .. ' ends with ' .. last[1]) end
end
local now = tonumber(ARGV[4])
if now == 0 then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
local tail_before, at = tail, math.max(now, tail_at)
local at_text = string.format('%.0f', at)

-- Which subject was last touched where, for the entries from `scanned` on.
local touched, scanned, missed = {}, tail + 1, {}
local function touch(subjects, seq)
  for subject in string.gmatch(subjects, '%S+') do
    if not touched[subject] or touched[subject] < seq then touched[subject] = seq end
  end
end
local function scan(after)
  if after + 1 >= scanned then return true end
  local expected = after
  for _, entry in ipairs(redis.call('XRANGE', log, id_of(after + 1), id_of(scanned - 1))) do
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
      local first = redis.call('XRANGE', lane, '(' .. found['last-delivered-id'], '+', 'COUNT', 1)[1]
      return first and first[1]
    end
  end
end

-- Lanes are derived: once the entries are written, a lane that cannot follow is mended later.
local lanes_failed = 0
local function try(...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err then lanes_failed = 1 end
  return answer
end

local at_arg = 7
local function arg()
  at_arg = at_arg + 1
  return ARGV[at_arg]
end

local codes, conflict_after = {}, nil
for n = 1, tonumber(ARGV[7]) do
  local after, request, subjects, drafts, moves = tonumber(arg()), arg(), {}, {}, {}
  for i = 1, tonumber(arg()) do subjects[i] = arg() end
  for i = 1, tonumber(arg()) do drafts[i] = {arg(), arg(), arg(), arg(), arg()} end
  for i = 1, tonumber(arg()) do
    local what, lane = arg(), KEYS[tonumber(arg())]
    if what == 'D' then moves[i] = {what, lane, arg()} else moves[i] = {what, lane, arg(), arg()} end
  end

  local code = 'A'
  if tail < after then
    code = 'D'
  elseif #subjects > 0 then
    if tail - after > scan_max then
      code = 'B'
    else
      if not scan(after) then return redis.error_reply('DAMAGED ' .. log .. ' has a gap') end
      for _, subject in ipairs(subjects) do
        if (touched[subject] or 0) > after then
          code = 'C'
          conflict_after = math.min(conflict_after or after, after)
          break
        end
      end
    end
  end
  if code == 'A' then
    for _, move in ipairs(moves) do
      if move[1] == 'T' and (lanes_doubtful or head(move[2]) ~= move[3] .. '-0') then code = 'O' end
    end
  end
  codes[n] = code

  if code == 'A' then
    local before = tail
    for _, d in ipairs(drafts) do
      tail = tail + 1
      redis.call('XADD', log, id_of(tail), 'k', d[1], 's', d[2], 'r', d[3], 't', at_text, 'v', d[4], 'q', request, 'd', d[5])
      touch(d[2], tail)
    end
    for _, move in ipairs(moves) do
      local what, lane = move[1], move[2]
      if what == 'P' then
        if redis.call('EXISTS', lane) == 0 then
          try('XGROUP', 'CREATE', lane, 'workers', '0', 'MKSTREAM')
          try('SADD', lanes, lane)
        end
        try('XADD', lane, id_of(before + 1 + tonumber(move[3])), 'm', move[4])
      elseif what == 'T' then
        local given = try('XREADGROUP', 'GROUP', 'workers', move[4], 'COUNT', 1, 'STREAMS', lane, '>')
        if not given or given.err or given[1][2][1][1] ~= move[3] .. '-0' then lanes_failed = 1 end
      else
        try('XACK', lane, 'workers', move[3] .. '-0')
        try('XDEL', lane, move[3] .. '-0')
      end
    end
  end
end

local entries = {}
if conflict_after then
  for seq = conflict_after + 1, tail_before do entries[#entries + 1] = missed[seq] end
end
return {0, tail_before, at, table.concat(codes), lanes_failed, entries}
