-- What the records that are no longer in the journal had charged. Request: nothing. Answers OPENING and account, amount, and so on.
-- Needs: reading.

local fault = begin_reading(0)
if fault then
  return fault
end
return { 'OPENING', call('HGETALL', OPENING) }
