-- A page of the open holds, by the processes that hold them; `ended_holders.py` puts the pages together.
-- Request: clock_ms (absent: the server's), cursor (0: the first page), count (of holds in a page, about), within_ms: a hold whose lease ends
--   that soon was not renewed.
-- Answers HOLDERS at, the next cursor (0: there is no other page), the processes of renewed holds, and for each other hold its id, process,
-- time, lease and charges.
-- Needs: leases, reading.

local fault = begin_reading(request.clock_ms)
if fault then
  return fault
end
local cursor, page = unpack(call('HSCAN', HOLDS, request.cursor, 'COUNT', request.count))
local heard, others, has_heard = {}, {}, {}
for id, text in pairs(read_pairs(page)) do
  local hold = read_hold(id, text)
  local process = process_of(hold, text)
  if hold.lease_until_ms > now_ms + request.within_ms then
    if not has_heard[process] then
      has_heard[process] = true
      heard[#heard + 1] = process
    end
  elseif hold.lease_until_ms > now_ms and process ~= '' then -- otherwise it counts as charged, as in `balances`
    for _, text in ipairs({ id, process, digits(hold.at_ms), digits(hold.lease_until_ms), hold.charges }) do
      others[#others + 1] = text
    end
  end
end
return { 'HOLDERS ' .. digits(now_ms), cursor, heard, others }
