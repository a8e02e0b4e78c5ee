-- Of a part of the open holds those whose lease is over; nothing is written.
-- Request: clock_ms (absent: the server's), cursor ("0" at first), count. Answers HOLDS at, the next cursor ("0" at the end), and id, hold…
-- Needs: reading.

local fault = begin_reading(request.clock_ms)
if fault then
  return fault
end
local cursor, found = unpack(call('HSCAN', HOLDS, request.cursor, 'COUNT', request.count))
local answer = { 'HOLDS ' .. digits(now_ms), cursor }
for at = 1, #found, 2 do
  local hold = read_hold(found[at], found[at + 1])
  if hold.lease_until_ms <= now_ms then
    read_kept_charges(hold.charges, 'hold', hold.id)
    answer[#answer + 1] = found[at]
    answer[#answer + 1] = found[at + 1]
  end
end
return answer
