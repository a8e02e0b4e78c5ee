-- Everything but the journal at one instant, and where the journal ends then: `records` reads that.
-- Request: nothing.
-- Answers SNAPSHOT time, records and days after which budgets leave, the last record's position, all accounts, their windows (account, entries), all holds, all opening
-- balances, all accounts that have left.
-- Needs: reading.

local fault = begin_reading(0)
if fault then
  return fault
end
local accounts, windows = call('HGETALL', ACCOUNTS), {}
for account, text in pairs(read_pairs(accounts)) do
  if read_row(account, text).free_at_ms > 0 then
    windows[#windows + 1] = account
    windows[#windows + 1] = call('ZRANGE', WINDOW .. account, 0, -1, 'WITHSCORES')
  end
end
local newest = unpack(call('XREVRANGE', RECORDS, '+', '-', 'COUNT', 1))
local last = unpack(newest or { '0-1' })
return {
  'SNAPSHOT ' .. doubles({ now_ms, call('XLEN', RECORDS), state.retire_days }),
  last,
  accounts,
  windows,
  call('HGETALL', HOLDS),
  call('HGETALL', OPENING),
  call('HGETALL', RETIRED),
}
