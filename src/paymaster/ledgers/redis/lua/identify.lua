-- Which ledger it is, and how new. Request: nothing. Answers IDENTITY, the time of the newest record, and the id; it is empty without a ledger.
-- Needs: reading.

local fault = begin_reading(0)
if fault then
  return fault
end
return 'IDENTITY ' .. digits(state.record_at_ms) .. ' ' .. state.id
