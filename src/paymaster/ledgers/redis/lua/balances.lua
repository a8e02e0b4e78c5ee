-- The accounts as a sweep would leave them, without writing anything: the caller that sweeps reports the lost holds
-- (`transactions.balances`).
-- Request: clock_ms (absent: the server's), prefix (how the names begin).
-- Answers BALANCES at, and for each account its name and: settled live held ahead (at amount)…
-- Needs: queue, reading.

local fault = begin_reading(request.clock_ms)
if fault then
  return fault
end
local prefix, names = request.prefix, {}
for account, text in pairs(read_pairs(call('HGETALL', ACCOUNTS))) do
  if string.sub(account, 1, #prefix) == prefix then
    names[#names + 1] = account
    rows[account] = read_row(account, text)
  end
end
table.sort(names)

-- Move what an expired hold has on an account from held to settled or live (`transactions._view_lost`).
local function view_lost(hold, account, amount, window_ms)
  local row = rows[account]
  if row and window_ms < 0 then
    row.held, row.settled = row.held - amount, row.settled + amount
  elseif row and window_ms == 0 then
    row.held = row.held - amount
  elseif row and hold.at_ms + window_ms > now_ms then
    row.held, row.live = row.held - amount, row.live + amount
  end
end

if state.next_lease_end_ms > 0 and state.next_lease_end_ms <= now_ms then
  for id, text in pairs(read_pairs(call('HGETALL', HOLDS))) do
    local hold = read_hold(id, text)
    if hold.lease_until_ms <= now_ms then
      local charges, count = read_kept_charges(hold.charges, 'hold', id)
      for number = 1, count do
        view_lost(hold, charges[number], charges[AMOUNT * count + number], charges[WINDOW_MS * count + number])
      end
    end
  end
end

local ahead = {}
if state.queue_until_ms > now_ms then
  for _, ticket in ipairs(read_tickets()) do
    for account, amount in pairs(ticket.asks) do
      ahead[account] = (ahead[account] or 0) + amount
    end
  end
end

-- An account without the entries that have left their window, as figures (`transactions._view`).
local function view(account)
  local row, leaving, moment, together = rows[account], {}, nil, 0
  local function add_moment()
    if moment and together ~= 0 then
      leaving[#leaving + 1] = moment
      leaving[#leaving + 1] = together
    end
  end
  local entries = row.free_at_ms > 0 and call('ZRANGE', WINDOW .. account, 0, -1, 'WITHSCORES') or {}
  for at = 1, #entries, 2 do
    local amount, owner = read_entry(account, entries[at])
    local free_at_ms = tonumber(entries[at + 1])
    if not are_figures(free_at_ms, 0, 0, 0) then
      damaged('window', account)
    end
    if free_at_ms > now_ms then
      if free_at_ms ~= moment then
        add_moment()
        moment, together = free_at_ms, 0
      end
      together = together + amount
    elseif is_open(owner) then
      row.held = row.held - amount
    else
      row.live = row.live - amount
    end
  end
  add_moment()
  local figures = { row.settled, row.live, row.held, ahead[account] or 0 }
  for _, figure in ipairs(leaving) do
    figures[#figures + 1] = figure
  end
  return figures
end

local answer = { 'BALANCES ' .. digits(now_ms) }
for _, account in ipairs(names) do
  answer[#answer + 1] = account
  answer[#answer + 1] = doubles(view(account))
end
return answer
