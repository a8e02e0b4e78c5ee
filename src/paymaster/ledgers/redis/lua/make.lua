-- make
-- Make the ledger, unless it is there. Answers MADE, or THERE.

local fault = begin('')
if fault then
  return fault
end
return close(as_read and 'THERE' or 'MADE')
