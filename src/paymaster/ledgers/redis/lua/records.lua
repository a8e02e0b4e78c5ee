-- Read a part of the journal.
-- Request: first and last (positions; without last, up to the newest record), count.
-- Answers RECORDS, the last position to read to, and the entries.
-- Needs: reading.

local fault = begin_reading(0)
if fault then
  return fault
end
local last = request.last
if not last then
  local newest = unpack(call('XREVRANGE', RECORDS, '+', '-', 'COUNT', 1))
  last = unpack(newest or { '0-1' })
end
return { 'RECORDS', last, call('XRANGE', RECORDS, request.first, last, 'COUNT', request.count) }
