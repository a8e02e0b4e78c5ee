-- A page of the accounts, as they are written: without what a sweep would do, and with windows in short. Nothing is written.
-- Request: clock_ms (absent: the server's), count, and either accounts (their names, also of those that have left) or prefixes (how the
--   names begin) and cursor ("0" at first).
-- Answers BALANCES at, the next cursor ("0" at the end), 1 if leases may be over (else 0), 1 if holds wait in the queue (else 0), and for
--   each account its name and: settled live held; if it has a window, also open settled first last (what of its entries has left, of open
--   holds and of others, and when the first and the last of the rest leave; 0: none), or -1 if that is too long to add up here.
-- Needs: reading.

local fault = begin_reading(request.clock_ms)
if fault then
  return fault
end
-- So many entries that have left their windows are added up at most, of one account and of all.
local OF_ONE, OF_ALL = 64, 256

local function window_in_short(account)
  local window, open_sum, settled_sum = WINDOW .. account, 0, 0
  local left = call('ZRANGEBYSCORE', window, '-inf', now_ms, 'LIMIT', 0, math.min(OF_ONE, OF_ALL) + 1)
  OF_ALL = OF_ALL - #left
  if #left > OF_ONE or OF_ALL < 0 then
    OF_ALL = math.max(OF_ALL, 0)
    return -1
  end
  for _, member in ipairs(left) do
    local amount, owner = read_entry(account, member)
    if is_open(owner) then
      open_sum = open_sum + amount
    else
      settled_sum = settled_sum + amount
    end
  end
  local first_ms, last_ms = 0, 0
  for _, entry in ipairs({
    call('ZRANGEBYSCORE', window, '(' .. digits(now_ms), '+inf', 'WITHSCORES', 'LIMIT', 0, 1),
    call('ZRANGE', window, -1, -1, 'WITHSCORES'),
  }) do
    local at_ms = tonumber(entry[2] or 0)
    if entry[1] then
      read_entry(account, entry[1])
    end
    if not are_figures(at_ms, 0, 0, 0) then
      damaged('window', account)
    end
    if at_ms > now_ms then
      first_ms, last_ms = first_ms > 0 and first_ms or at_ms, at_ms
    end
  end
  return open_sum, settled_sum, first_ms, last_ms
end

local cursor, found = '0', {}
if request.accounts then
  for at, text in ipairs(call('HMGET', ACCOUNTS, unpack(request.accounts))) do
    local account = request.accounts[at]
    local sum = not text and state.retired > 0 and retired_sum(account)
    text = sum and pack_row({ settled = tonumber(sum), live = 0, held = 0, free_at_ms = 0 }) or text
    if text then
      found[#found + 1] = account
      found[#found + 1] = text
    end
  end
else
  cursor, found = unpack(call('HSCAN', ACCOUNTS, request.cursor, 'COUNT', request.count))
end

local function is_wanted(account)
  for _, prefix in ipairs(request.prefixes or { '' }) do
    if string.sub(account, 1, #prefix) == prefix then
      return true
    end
  end
  return false
end

local is_due = state.next_lease_end_ms > 0 and state.next_lease_end_ms <= now_ms
local answer = { 'BALANCES ' .. digits(now_ms), cursor, is_due and 1 or 0, state.queue_until_ms > now_ms and 1 or 0 }
for at = 1, #found, 2 do
  local account = found[at]
  if is_wanted(account) then
    local row = read_row(account, found[at + 1])
    answer[#answer + 1] = account
    answer[#answer + 1] = row.free_at_ms > 0 and doubles({ row.settled, row.live, row.held, window_in_short(account) })
      or pack('<ddd', row.settled, row.live, row.held)
  end
end
return answer
