-- Charge and record the holds whose lease is over (`transactions.sweep`).
-- Request: clock_ms (absent: the server's). Answers SWEPT at, and the lost holds.

local fault = begin_writing(request.clock_ms)
if fault then
  return fault
end
local lost = sweep()
return close('SWEPT', pack('<d', now_ms), lost)
