-- snapshot
-- Everything but the journal at one instant, and how the journal stands then: the rest is read by `records`.
-- Answers SNAPSHOT time and records, the last record's place, all accounts, their windows (account, entries), all holds, all openings.

local fault = begin('0')
if fault then
  return fault
end
local accounts, windows = call('HGETALL', ACCOUNTS), {}
for at = 1, #accounts, 2 do
  if read_row(accounts[at + 1]).free > 0 then
    windows[#windows + 1] = accounts[at]
    windows[#windows + 1] = call('ZRANGE', WINDOW .. accounts[at], 0, -1, 'WITHSCORES')
  end
end
local newest = call('XREVRANGE', RECORDS, '+', '-', 'COUNT', 1)
return {
  'SNAPSHOT ' .. packed({ now, call('XLEN', RECORDS) }),
  newest[1] and newest[1][1] or '0-1',
  accounts,
  windows,
  call('HGETALL', HOLDS),
  call('HGETALL', OPENING),
}
