-- Make the ledger, if there is none. Request: nothing. Answers MADE, or THERE.

local fault = begin()
if fault then
  return fault
end
return close(state_as_read and 'THERE' or 'MADE')
