-- A part of what the records that are no longer in the journal had charged.
-- Request: cursor ("0" at first), count. Answers OPENING, the next cursor ("0" at the end), and account, amount, and so on.
-- Needs: reading.

local fault = begin_reading(0)
if fault then
  return fault
end
local cursor, found = unpack(call('HSCAN', OPENING, request.cursor, 'COUNT', request.count))
return { 'OPENING', cursor, found }
