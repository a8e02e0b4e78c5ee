-- Prolong the leases of open holds, none beyond its own end and none that is over: a hold that has ended, or that counts as lost from now
-- on, stays as it is.
-- Request: clock_ms (absent: the server's), holds (some hundreds at most), own_ms (for each, how long its lease may be in all),
--   lease_ms (how long one lasts from now on).
-- Answers RENEWED and a letter for each hold: y if it has to be renewed again, n if it can't be.
-- Needs: leases.

local fault = begin_writing(request.clock_ms)
if fault then
  return fault
end
local texts, letters, renewed = call('HMGET', HOLDS, unpack(request.holds)), {}, {}
for number, id in ipairs(request.holds) do
  local hold = texts[number] and read_hold(id, texts[number])
  letters[number] = 'n'
  if hold and hold.lease_until_ms > now_ms then
    local ends_at_ms = hold.at_ms + request.own_ms[number]
    local lease_until_ms = math.min(now_ms + request.lease_ms, ends_at_ms)
    if lease_until_ms > hold.lease_until_ms then
      renewed[#renewed + 1] = id
      renewed[#renewed + 1] = with_lease(texts[number], lease_until_ms)
    end
    letters[number] = lease_until_ms < ends_at_ms and 'y' or 'n'
  end
end
if #renewed > 0 then
  call('HSET', HOLDS, unpack(renewed))
end
return close('RENEWED', table.concat(letters))
