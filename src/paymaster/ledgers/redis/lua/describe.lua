-- How much is in the ledger, with the memory of a part of its windows.
-- Request: cursor ("0" at first), count (accounts at once).
-- Answers DESCRIBED, the next cursor ("0" at the end), the bytes of these accounts' windows, and as figures: time, accounts, open holds,
--   records, first and last record's time (0: none), bytes of the journal, of all else but windows, accounts that have left, days after
--   which budgets leave; then the ledger's id.
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
for _, key in ipairs({ KEYS[1], ACCOUNTS, HOLDS, QUEUE, ENDED, LOST, OPENING, RETIRED }) do
  other_bytes = other_bytes + bytes(key)
end
local cursor, found = unpack(call('HSCAN', ACCOUNTS, request.cursor, 'COUNT', request.count))
local window_bytes = 0
for at = 1, #found, 2 do
  if read_row(found[at], found[at + 1]).free_at_ms > 0 then
    window_bytes = window_bytes + bytes(WINDOW .. found[at])
  end
end
local figures = doubles({
  now_ms,
  state.accounts,
  call('HLEN', HOLDS),
  call('XLEN', RECORDS),
  at_ms(call('XRANGE', RECORDS, '-', '+', 'COUNT', 1)),
  at_ms(call('XREVRANGE', RECORDS, '+', '-', 'COUNT', 1)),
  bytes(RECORDS),
  other_bytes,
  state.retired,
  state.retire_days,
})
return { 'DESCRIBED', cursor, window_bytes, figures, state.id }
