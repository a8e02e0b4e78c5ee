-- A part of the queue, without tickets that have lapsed; nothing is written (`transactions.waiting`).
-- Request: clock_ms (absent: the server's), cursor ("0" at first), count.
-- Answers WAITING at, the next cursor ("0" at the end), and for each ticket its hold, turn and since when as figures, the names in JSON, the
--   accounts in JSON, and the amounts that it asks of them.
-- Needs: queue, reading.

local fault = begin_reading(request.clock_ms)
if fault then
  return fault
end
if state.queue_until_ms <= now_ms then
  return { 'WAITING ' .. digits(now_ms), '0' }
end
local cursor, found = unpack(call('HSCAN', QUEUE, request.cursor, 'COUNT', request.count))
local answer = { 'WAITING ' .. digits(now_ms), cursor }
for at = 1, #found, 2 do
  local ticket = read_ticket(found[at], found[at + 1], now_ms)
  if ticket.until_ms > now_ms then
    local accounts, amounts = {}, {}
    for account in pairs(ticket.asks) do
      accounts[#accounts + 1] = account
    end
    table.sort(accounts)
    for number, account in ipairs(accounts) do
      amounts[number] = ticket.asks[account]
    end
    answer[#answer + 1] = ticket.id
    answer[#answer + 1] = doubles({ ticket.turn, ticket.until_ms, ticket.since_ms })
    answer[#answer + 1] = cjson.encode(ticket.names)
    answer[#answer + 1] = cjson.encode(accounts)
    answer[#answer + 1] = doubles(amounts)
  end
end
return answer
