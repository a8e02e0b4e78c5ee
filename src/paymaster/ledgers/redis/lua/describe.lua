-- How much is in the ledger. It reads every account, so it is for an operator, not for every call.
-- Request: nothing.
-- Answers DESCRIBED and: time, accounts, open holds, records, first and last record's time (0: none), bytes of the journal, of all else;
-- then the ledger's id.
-- Needs: reading.

local fault = begin_reading(0)
if fault then
  return fault
end
local function bytes(key)
  return call('MEMORY', 'USAGE', key) or 0
end
local function at_ms(records)
  local position = unpack(records[1] or {})
  return position and tonumber(string.match(position, '^%d+')) or 0
end

local other_bytes = 0
for _, key in ipairs({ KEYS[1], ACCOUNTS, HOLDS, QUEUE, ENDED, LOST, OPENING }) do
  other_bytes = other_bytes + bytes(key)
end
local accounts = 0
for account, text in pairs(read_pairs(call('HGETALL', ACCOUNTS))) do
  accounts = accounts + 1
  if read_row(account, text).free_at_ms > 0 then
    other_bytes = other_bytes + bytes(WINDOW .. account)
  end
end
local figures = doubles({
  now_ms,
  accounts,
  call('HLEN', HOLDS),
  call('XLEN', RECORDS),
  at_ms(call('XRANGE', RECORDS, '-', '+', 'COUNT', 1)),
  at_ms(call('XREVRANGE', RECORDS, '+', '-', 'COUNT', 1)),
  bytes(RECORDS),
  other_bytes,
})
return 'DESCRIBED ' .. figures .. state.id
