-- Empty windows, then add entries that no hold carries, once for each token (`transactions.post`). It does not sweep: it could not report
-- the lost holds.
-- Request: clock_ms (absent: the server's), token, posts, clears. Answers POSTED (before after)…
-- Needs: posts.

local fault = begin_writing(request.clock_ms)
if fault then
  return fault
end
local changes = {}
if call('ZSCORE', ENDED, request.token) then
  -- The first answer did not arrive; what it did is done.
  for _, entry in ipairs(request.posts) do
    entry.amount, entry.for_ms = 0, cjson.null
  end
end
load_all({}, 0, request.posts, request.clears)
for _, entry in ipairs(request.posts) do
  local row = rows[entry.account]
  if math.abs(row.settled + row.live + row.held + entry.amount) > EXACT then
    return close('LARGE ' .. entry.account)
  end
end
post(request.posts, request.clears, changes)
call('ZADD', ENDED, now_ms, request.token)
return close('POSTED', doubles(changes))
