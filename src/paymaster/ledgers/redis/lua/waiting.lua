-- Who stands in line, first come first, without those whose time is up; nothing is written.
-- ARGV: clock. Answers WAITING and for each place its hold, since when, the names in JSON, and the accounts in JSON.

local fault = begin(ARGV[1])
if fault then
  return fault
end
local answer = { 'WAITING' }
for _, ticket in ipairs(line_ms > now and read_line() or {}) do
  local accounts = {}
  for account in pairs(ticket.asks) do
    accounts[#accounts + 1] = account
  end
  table.sort(accounts)
  answer[#answer + 1] = ticket.id
  answer[#answer + 1] = figure(ticket.since_ms)
  answer[#answer + 1] = cjson.encode(ticket.names)
  answer[#answer + 1] = cjson.encode(accounts)
end
return answer
