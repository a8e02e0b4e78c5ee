-- Admit a hold whole, or say why not and keep its place in line.
-- ARGV: clock, hold, lease in ms, charges, record if it is lost, how long to keep the place in ms; behind that, after a space, who waits there
-- in JSON (names, waited ms). It is one argument, as a server that wants a password answers one with more than ten in other words.
-- Answers HELD at lease (settled live held ahead)…, REFUSED at (charge settled live held ahead count (at amount)…)…, ENDED, or LARGE account.
-- Figures are packed, as everywhere.

local fault = begin(ARGV[1])
if fault then
  return fault
end
local id, queue_for_ms, crowd = ARGV[2], tonumber(ARGV[6]), nil
if not queue_for_ms then
  queue_for_ms, crowd = string.match(ARGV[6], '^(%d+) (.*)$')
  queue_for_ms = tonumber(queue_for_ms)
end
local hold = find_hold(id)
if hold and hold.lease <= now or not hold and call('ZSCORE', ENDED, id) then
  return 'ENDED'
end
local told = sweep()
local charges, count = read_charges(hold and hold.packed or ARGV[4])
local ahead = {}

local function held(at_ms, lease_until_ms)
  local figures = { at_ms, lease_until_ms }
  for at = 1, count do
    local row, to = rows[charges[at]], 4 * at
    figures[to - 1], figures[to], figures[to + 1], figures[to + 2] = row.settled, row.live, row.held, ahead[charges[at]] or 0
  end
  return close('HELD', figures, told)
end

load(charges, count)
if hold then
  return held(hold.at, hold.lease)
end

local tickets, gone_from_line, mine = {}, {}, nil
if line_ms > now then
  tickets, gone_from_line = read_line()
  for _, ticket in ipairs(tickets) do
    if ticket.id == id then
      mine = ticket
      break
    end
    for account, amount in pairs(ticket.asks) do
      ahead[account] = (ahead[account] or 0) + amount
    end
  end
elseif line_ms > 0 then
  call('DEL', LINE)
  line_ms = 0
end

-- What must leave the window for the charge to fit, as figures; whether that is enough; and how many.
local function leaving(account, missing)
  local figures, from, moment, together = {}, 0, nil, 0
  local function gone()
    if moment and together ~= 0 then
      figures[#figures + 1] = moment
      figures[#figures + 1] = together
      missing = missing - together
    end
    return missing <= 0
  end
  while true do
    local some = call('ZRANGE', WINDOW .. account, from, from + 63, 'WITHSCORES')
    if #some == 0 then
      return figures, gone()
    end
    for at = 1, #some, 2 do
      local free_ms = tonumber(some[at + 1])
      if free_ms ~= moment then
        if gone() then
          return figures, true
        end
        moment, together = free_ms, 0
      end
      together = together + parse_entry(some[at])
    end
    from = from + 64
  end
end

local short, waiting_helps, too_large = { now }, true, nil
local asks = mine and mine.asks or {}
for at = 1, count do
  local account, amount, cap = charges[at], charges[count + at], charges[2 * count + at]
  local row, before = rows[account], ahead[account] or 0
  local total = row.settled + row.live + row.held
  local missing = cap >= 0 and total + before + amount - cap or 0
  if missing > 0 then
    local figures, enough = leaving(account, missing)
    if amount + row.settled > cap or not (enough or row.held + before > 0) then
      waiting_helps = false
    end
    for _, number in ipairs({ at - 1, row.settled, row.live, row.held, before, #figures / 2 }) do
      short[#short + 1] = number
    end
    for _, number in ipairs(figures) do
      short[#short + 1] = number
    end
    asks[account] = amount
  elseif total + amount > LARGEST then
    too_large = account
  end
end

local function leave()
  if mine then
    call('HDEL', LINE, id)
  end
end

if #short > 1 then
  if not waiting_helps then
    leave()
  elseif queue_for_ms > 0 then
    for _, other in ipairs(gone_from_line) do
      call('HDEL', LINE, other)
    end
    local turn = mine and mine.turn or #tickets > 0 and tickets[#tickets].turn + 1 or 1
    local names, waited_ms = {}, 0
    if crowd then
      names, waited_ms = unpack(cjson.decode(crowd))
    end
    call('HSET', LINE, id, cmsgpack.pack(turn, now + queue_for_ms, asks, names, mine and mine.since_ms or now - waited_ms))
    line_ms = math.max(line_ms, now + queue_for_ms)
  end
  return close('REFUSED', short, told)
end
leave()
if too_large then
  return close('LARGE ' .. too_large, nil, told)
end

local lease_until_ms = now + tonumber(ARGV[3])
call('HSET', HOLDS, id, pack('<ddd', now, lease_until_ms, #ARGV[4]) .. ARGV[4] .. ARGV[5])
if lease_ms == 0 or lease_until_ms < lease_ms then
  lease_ms = lease_until_ms
end
for at = 1, count do
  local account, amount, window = charges[at], charges[count + at], charges[3 * count + at]
  if amount ~= 0 then
    local row = rows[account]
    row.held = row.held + amount
    changed[account] = true
    if window > 0 then
      enter(account, row, now + window, format('%.0f:%s', amount, id))
    end
  end
end
return held(now, lease_until_ms)
