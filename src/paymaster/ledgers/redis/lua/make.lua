-- Make the ledger, if there is none.
-- Request: clock_ms (absent: the server's), new_id (its id, if it is made now).
-- Answers MADE or THERE, then its id and when its newest record was written (0: never).

local fault = begin(request.clock_ms)
if fault then
  return fault
end
local word = state_as_read and 'THERE ' or 'MADE '
if not state_as_read then
  state.id = request.new_id
end
return close(word .. state.id .. ' ' .. digits(state.record_at_ms))
