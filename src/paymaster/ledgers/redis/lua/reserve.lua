-- Admit a hold whole, or refuse it and keep its ticket in the queue (`transactions.reserve`).
-- Request: clock_ms (absent: the server's), hold, lease_ms, charges, process (which holds it; absent: not known), lost_record,
--   queue_for_ms, waiters (absent, or names and waited_ms).
-- Answers HELD at lease (settled live held ahead)…, REFUSED at (charge settled live held ahead count (at amount)…)…, ENDED, LARGE account, or
--   MORE if it did not fit, and there is more to clean up than one script does: ask again at once.
-- Needs: queue.

local fault = begin_writing(request.clock_ms)
if fault then
  return fault
end
local id, queue_for_ms = request.hold, request.queue_for_ms
local open = find_hold(id)
if open and open.lease_until_ms <= now_ms or not open and call('ZSCORE', ENDED, id) then
  return 'ENDED'
end
local charges, count
if open then
  charges, count = read_kept_charges(open.charges, 'hold', id)
else
  charges, count = read_charges(request.charges)
end
local ahead, tickets, expired, mine = {}, {}, {}, nil
if not open and state.queue_until_ms > now_ms then
  tickets, expired = read_tickets()
end
check_windows(charges, count)
load(charges, count)
local lost = sweep()

-- The answer for a hold that is open (`transactions._held`).
local function held(at_ms, lease_until_ms)
  local figures = { pack('<dd', at_ms, lease_until_ms) }
  for number = 1, count do
    local account = charges[number]
    local row = rows[account]
    figures[number + 1] = pack('<dddd', row.settled, row.live, row.held, ahead[account] or 0)
  end
  return close('HELD', table.concat(figures), lost)
end

if open then
  return held(open.at_ms, open.lease_until_ms)
end

if state.queue_until_ms > now_ms then
  for _, ticket in ipairs(tickets) do
    if ticket.id == id then
      mine = ticket
      break
    end
    for account, amount in pairs(ticket.asks) do
      ahead[account] = (ahead[account] or 0) + amount
    end
  end
elseif state.queue_until_ms > 0 then
  call('DEL', QUEUE)
  state.queue_until_ms = 0
end

-- What must leave the window for the charge to fit, as figures; and whether that is enough (`transactions._leaving`). Beyond so many entries
-- what is missing is answered with the last of them, if the window has as much: the caller asks again then.
local function leaving(account, missing, in_window)
  flush()
  local LEAVING_AT_ONCE = 512
  local figures, from, moment, together = {}, 0, nil, 0
  local function add_moment()
    if moment and together ~= 0 then
      figures[#figures + 1] = moment
      figures[#figures + 1] = together
      missing, in_window = missing - together, in_window - together
    end
    return missing <= 0
  end
  while true do
    if from == LEAVING_AT_ONCE then
      if not add_moment() and missing <= in_window then
        figures[#figures + 1] = moment
        figures[#figures + 1] = missing
        missing = 0
      end
      return figures, missing <= 0
    end
    local some = call('ZRANGE', WINDOW .. account, from, from + 63, 'WITHSCORES')
    if #some == 0 then
      return figures, add_moment()
    end
    for at = 1, #some, 2 do
      local free_at_ms = tonumber(some[at + 1])
      if free_at_ms ~= moment then
        if add_moment() then
          return figures, true
        end
        moment, together = free_at_ms, 0
      end
      together = together + read_entry(account, some[at])
    end
    from = from + 64
  end
end

local short, waiting_helps, too_large = { now_ms }, true, nil
local asks = mine and mine.asks or {}
for number = 1, count do
  local account, amount, cap = charges[number], charges[AMOUNT * count + number], charges[CAP * count + number]
  local row, before = rows[account], ahead[account] or 0
  local total = row.settled + row.live + row.held
  local missing = cap >= 0 and total + before + amount - cap or 0
  if missing > 0 then
    local figures, enough = leaving(account, missing, row.live + row.held)
    if amount + row.settled > cap or not (enough or row.held + before > 0) then
      waiting_helps = false
    end
    for _, figure in ipairs({ number - 1, row.settled, row.live, row.held, before, #figures / 2 }) do
      short[#short + 1] = figure
    end
    for _, figure in ipairs(figures) do
      short[#short + 1] = figure
    end
    asks[account] = amount
  elseif total + amount > LARGEST then
    too_large = account
  end
end

-- Give up the ticket (`LedgerQueue.leave`).
local function leave()
  if mine then
    call('HDEL', QUEUE, id)
  end
end

-- Keep the ticket after a refusal, or make one (`LedgerQueue.stay`).
local function stay()
  for _, other in ipairs(expired) do
    call('HDEL', QUEUE, other)
  end
  local last = tickets[#tickets]
  local waiters = request.waiters or { names = {}, waited_ms = 0 }
  local ticket = {
    turn = mine and mine.turn or last and last.turn + 1 or 1,
    until_ms = now_ms + queue_for_ms,
    asks = asks,
    names = waiters.names,
    since_ms = mine and mine.since_ms or now_ms - waiters.waited_ms,
  }
  call('HSET', QUEUE, id, pack_ticket(ticket))
  state.queue_until_ms = math.max(state.queue_until_ms, ticket.until_ms)
end

local is_unfinished = is_sweeping
for number = 1, count do
  local free_at_ms = rows[charges[number]].free_at_ms
  is_unfinished = is_unfinished or free_at_ms > 0 and free_at_ms <= now_ms
end
if #short > 1 and is_unfinished then
  return close('MORE', nil, lost)
end
if #short > 1 then
  if not waiting_helps then
    leave()
  elseif queue_for_ms > 0 then
    stay()
  end
  return close('REFUSED', doubles(short), lost)
end
leave()
if too_large then
  return close('LARGE ' .. too_large, nil, lost)
end

local lease_until_ms = now_ms + request.lease_ms
write_hold(id, now_ms, lease_until_ms, request.charges, request.process or '', request.lost_record)
for number = 1, count do -- `transactions._open`
  local account, amount, window_ms = charges[number], charges[AMOUNT * count + number], charges[WINDOW_MS * count + number]
  if amount ~= 0 then
    local row = rows[account]
    row.held = row.held + amount
    changed[account] = true
    if window_ms > 0 then
      enter(account, row, now_ms + window_ms, format('%.0f:%s', amount, id))
    end
  end
end
return held(now_ms, lease_until_ms)
