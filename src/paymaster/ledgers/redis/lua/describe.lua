-- describe
-- How much is in the ledger. It reads every account, so it is for a person who asks, not for every call.
-- Answers DESCRIBED and: time, accounts, open holds, records, first and last record's time (0: none), bytes of the journal, of the rest.

local fault = begin('0')
if fault then
  return fault
end
local function bytes(key)
  return call('MEMORY', 'USAGE', key) or 0
end
local function at_ms(found)
  return found[1] and tonumber(string.match(found[1][1], '^%d+')) or 0
end

local rest = 0
for _, key in ipairs({ KEYS[1], ACCOUNTS, HOLDS, LINE, ENDED, LOST, OPENING }) do
  rest = rest + bytes(key)
end
local all = call('HGETALL', ACCOUNTS)
for at = 1, #all, 2 do
  if read_row(all[at + 1]).free > 0 then
    rest = rest + bytes(WINDOW .. all[at])
  end
end
return 'DESCRIBED ' .. packed({
  now,
  #all / 2,
  call('HLEN', HOLDS),
  call('XLEN', RECORDS),
  at_ms(call('XRANGE', RECORDS, '-', '+', 'COUNT', 1)),
  at_ms(call('XREVRANGE', RECORDS, '+', '-', 'COUNT', 1)),
  bytes(RECORDS),
  rest,
})
