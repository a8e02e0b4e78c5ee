-- What is in the windows of some accounts, in order; at most so many entries in all.
-- Request: clock_ms (absent: the server's), accounts, from (the rank in the first one's window, from 0), count.
-- Answers WINDOWS at, 1 if the last window that follows may go on (else 0), and for each account that was read: (at amount open)…, where open
--   is 1 for an entry that has left its window and belongs to an open hold (else 0).
-- Needs: reading.

local fault = begin_reading(request.clock_ms)
if fault then
  return fault
end
local answer, from, left = { 'WINDOWS ' .. digits(now_ms), 0 }, request.from, request.count
for _, account in ipairs(request.accounts) do
  if left == 0 then
    break
  end
  local entries, figures = call('ZRANGE', WINDOW .. account, from, from + left - 1, 'WITHSCORES'), {}
  for at = 1, #entries, 2 do
    local amount, owner = read_entry(account, entries[at])
    local free_at_ms = tonumber(entries[at + 1])
    if not are_figures(free_at_ms, 0, 0, 0) then
      damaged('window', account)
    end
    figures[#figures + 1] = free_at_ms
    figures[#figures + 1] = amount
    figures[#figures + 1] = free_at_ms <= now_ms and is_open(owner) and 1 or 0
  end
  answer[#answer + 1] = doubles(figures)
  from, left = 0, left - #entries / 2
end
answer[2] = left == 0 and 1 or 0
return answer
