-- Take accounts out of the ledger and keep what was settled on them, then name the next ones that hold nothing. Which of them leave is decided
-- by the caller, who can read names (`retirement.leaving`); that nothing is lost, here.
-- Request: clock_ms (absent: the server's), ended (their sums are kept), empty (taken if nothing is settled), cursor (where to look on, a
--   text; absent: where the last caller stopped), is_last (true: take these accounts, and look no further), in_passing (true: the next
--   caller goes on here).
-- Answers RETIRED and how many left, the time, the days after which budgets leave, the cursor ("0" at the end), then account, settled…
-- Needs: retirement.

-- So many are looked at: a fraction of a millisecond.
local PAGE = 200

local fault = begin_writing(request.clock_ms)
if fault then
  return fault
end
check_counts()

-- Those of these accounts that hold nothing and have nothing in a window. `taken` takes what they settled.
local function idle(accounts, taken)
  local found = {}
  load(accounts, #accounts)
  for _, account in ipairs(accounts) do
    local row = rows[account]
    if row.held == 0 and row.live == 0 and row.free_at_ms == 0 and not taken_back[account] and taken(row) then
      found[#found + 1] = account
    end
  end
  return found
end

local ended = idle(request.ended, function()
  return true
end)
local empty = idle(request.empty, function(row)
  return row.settled == 0
end)
flush()
local kept, leaving = {}, {}
for _, account in ipairs(ended) do
  if rows[account].settled ~= 0 then
    kept[#kept + 1] = account
    kept[#kept + 1] = digits(rows[account].settled)
  end
  leaving[#leaving + 1] = account
end
for _, account in ipairs(empty) do
  leaving[#leaving + 1] = account
end
local count = 0
if #leaving > 0 then
  if #kept > 0 then -- first: a script that is stopped by a full memory has lost no sum
    state.retired = state.retired + call('HSET', RETIRED, unpack(kept))
  end
  count = call('HDEL', ACCOUNTS, unpack(leaving))
  state.accounts = state.accounts - count
end

local cursor, found, answer = request.cursor or digits(state.retire_cursor), {}, {}
if not request.is_last then
  cursor, found = unpack(call('HSCAN', ACCOUNTS, cursor, 'COUNT', PAGE))
  for at = 1, #found, 2 do
    local row = read_row(found[at], found[at + 1])
    if row.held == 0 and (row.live == 0 and row.free_at_ms == 0 or row.free_at_ms > 0 and row.free_at_ms <= now_ms) then
      answer[#answer + 1] = found[at]
      answer[#answer + 1] = digits(row.settled)
    end
  end
end
if request.in_passing then
  state.retire_cursor = tonumber(cursor) <= EXACT and tonumber(cursor) or 0
  state.retire_at_ms = now_ms + (cursor == '0' and LOOK_EVERY_MS or PAGE_EVERY_MS)
end
flush()
table.insert(answer, 1, cursor)
table.insert(answer, 1, 'RETIRED ' .. doubles({ count, now_ms, state.retire_days }))
return answer
