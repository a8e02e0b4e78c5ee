-- Some of the accounts that have left the ledger, with what was settled on each.
-- Request: cursor ("0" at first). Answers KEPT, the next cursor ("0" at the end), and account, settled, and so on.
-- Needs: reading.

local fault = begin_reading(0)
if fault then
  return fault
end
return { 'KEPT', unpack(call('HSCAN', RETIRED, request.cursor, 'COUNT', 1000)) }
