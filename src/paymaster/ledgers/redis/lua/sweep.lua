-- Charge and record some of the holds whose lease is over (`transactions.sweep`).
-- Request: clock_ms (absent: the server's). Answers SWEPT, or MORE if it did not get to all, and the lost holds.

local fault = begin_writing(request.clock_ms)
if fault then
  return fault
end
local lost = sweep()
return close(is_sweeping and 'MORE' or 'SWEPT', nil, lost)
