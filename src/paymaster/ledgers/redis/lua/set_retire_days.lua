-- Choose how many days after its period a budget leaves the ledger. Request: clock_ms (absent: the server's), days. Answers OK.

local fault = begin_writing(request.clock_ms)
if fault then
  return fault
end
state.retire_days = request.days
return close('OK')
