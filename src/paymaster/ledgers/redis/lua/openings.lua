-- openings
-- What the records that are no longer in the journal had charged. Answers OPENINGS and account, amount, and so on.

local fault = begin('0')
if fault then
  return fault
end
return { 'OPENINGS', call('HGETALL', OPENING) }
