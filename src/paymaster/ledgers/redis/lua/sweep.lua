-- Charge and record the holds whose lease is over.
-- ARGV: clock. Answers SWEPT at, and what was lost.

local fault = begin(ARGV[1])
if fault then
  return fault
end
if not as_read then -- no ledger yet, and whoever only looks makes none
  return 'SWEPT ' .. packed({ now })
end
local told = sweep()
return close('SWEPT', { now }, told)
