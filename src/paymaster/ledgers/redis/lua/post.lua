-- Empty windows, then add entries that no hold carries, once for each token. It does not sweep: it could not report what was lost.
-- ARGV: clock, token, posts, clears. Answers POSTED (before after)…

local fault = begin(ARGV[1])
if fault then
  return fault
end
local posts, changes = cjson.decode(ARGV[3]), {}
if call('ZSCORE', ENDED, ARGV[2]) then
  -- The answer of the first time was lost on its way: what it did stands.
  for _, entry in ipairs(posts) do
    entry[2] = 0
    entry[3] = cjson.null
  end
end
for _, entry in ipairs(posts) do
  load({ entry[1] }, 1)
  local row = rows[entry[1]]
  if math.abs(row.settled + row.live + row.held + entry[2]) > EXACT then
    return 'LARGE ' .. entry[1]
  end
end
post(posts, cjson.decode(ARGV[4]), changes)
call('ZADD', ENDED, now, ARGV[2])
return close('POSTED', changes)
