-- Take the oldest records out of the journal; what they charged becomes opening balances.
-- Request: last (the position of the last one to drop), count (at most so many). Answers DROPPED and how many.
-- Needs: journal.

local fault = begin_writing(0)
if fault then
  return fault
end
return 'DROPPED ' .. doubles({ drop_records(request.last, request.count) })
