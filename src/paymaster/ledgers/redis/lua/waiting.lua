-- The queue, first come first, without tickets that have lapsed; nothing is written (`transactions.waiting`).
-- Request: clock_ms (absent: the server's).
-- Answers WAITING at, and for each ticket its hold, since when, the names in JSON, and the accounts in JSON.
-- Needs: queue, reading.

local fault = begin_reading(request.clock_ms)
if fault then
  return fault
end
local answer = { 'WAITING ' .. digits(now_ms) }
for _, ticket in ipairs(state.queue_until_ms > now_ms and read_tickets() or {}) do
  local accounts = {}
  for account in pairs(ticket.asks) do
    accounts[#accounts + 1] = account
  end
  table.sort(accounts)
  answer[#answer + 1] = ticket.id
  answer[#answer + 1] = digits(ticket.since_ms)
  answer[#answer + 1] = cjson.encode(ticket.names)
  answer[#answer + 1] = cjson.encode(accounts)
end
return answer
