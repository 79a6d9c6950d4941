#!lua
-- Removes consumers that hold nothing and have asked for nothing for a while. Holding and removing are looked at in one
-- step: to remove a consumer is to forget what it holds.
--
-- KEYS: lanes, then the lanes.  ARGV: idle for so many ms.  Answer: how many were removed.
local removed = 0
for i = 2, #KEYS do
  local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[i], 'workers')
  if not consumers.err then
    for _, flat in ipairs(consumers) do
      local found = {}
      for k = 1, #flat, 2 do found[flat[k]] = flat[k + 1] end
      if found['pending'] == 0 and found['idle'] > tonumber(ARGV[1]) then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[i], 'workers', found['name'])
        removed = removed + 1
      end
    end
  end
end
return removed
