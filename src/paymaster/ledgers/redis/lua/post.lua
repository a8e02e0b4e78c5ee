-- Empty windows, then add entries that no hold carries, once for each token (`transactions.post`). It does not sweep: it could not report
-- the lost holds.
-- Request: clock_ms (absent: the server's), token, posts, clears. Answers POSTED (before after)…
-- Needs: posts.

local fault = begin(request.clock_ms)
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
for _, entry in ipairs(request.posts) do
  load({ entry.account }, 1)
  local row = rows[entry.account]
  if math.abs(row.settled + row.live + row.held + entry.amount) > EXACT then
    return 'LARGE ' .. entry.account
  end
end
post(request.posts, request.clears, changes)
call('ZADD', ENDED, now_ms, request.token)
return close('POSTED', doubles(changes))
