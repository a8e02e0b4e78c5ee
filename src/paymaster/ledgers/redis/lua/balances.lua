-- The accounts as a sweep would leave them, without writing anything: what is lost is reported by the one who sweeps.
-- ARGV: clock, how the names begin. Answers BALANCES and for each account its name and: settled live held ahead (at amount)…

local fault = begin(ARGV[1])
if fault then
  return fault
end
local prefix = ARGV[2]
local names = {}
local all = call('HGETALL', ACCOUNTS)
for at = 1, #all, 2 do
  if string.sub(all[at], 1, #prefix) == prefix then
    names[#names + 1] = all[at]
    rows[all[at]] = read_row(all[at + 1])
  end
end
table.sort(names)

-- Move what expired holds have from held to settled or live.
if lease_ms > 0 and lease_ms <= now then
  for _, text in ipairs(call('HVALS', HOLDS)) do
    local hold = read_hold(text)
    if hold.lease <= now then
      local charges, count = read_charges(hold.packed)
      for at = 1, count do
        local row, amount, window = rows[charges[at]], charges[count + at], charges[3 * count + at]
        if row and window < 0 then
          row.held, row.settled = row.held - amount, row.settled + amount
        elseif row and window == 0 then
          row.held = row.held - amount
        elseif row and hold.at + window > now then
          row.held, row.live = row.held - amount, row.live + amount
        end
      end
    end
  end
end

local ahead = {}
if line_ms > now then
  for _, ticket in ipairs(read_line()) do
    for account, amount in pairs(ticket.asks) do
      ahead[account] = (ahead[account] or 0) + amount
    end
  end
end

local answer = { 'BALANCES' }
for _, account in ipairs(names) do
  local row, moment, together = rows[account], nil, 0
  local figures = { 0, 0, 0, ahead[account] or 0 }
  local function gone()
    if moment and together ~= 0 then
      figures[#figures + 1] = moment
      figures[#figures + 1] = together
    end
  end
  local entries = row.free > 0 and call('ZRANGE', WINDOW .. account, 0, -1, 'WITHSCORES') or {}
  for at = 1, #entries, 2 do
    local amount, owner = parse_entry(entries[at])
    local free_ms = tonumber(entries[at + 1])
    if free_ms > now then
      if free_ms ~= moment then
        gone()
        moment, together = free_ms, 0
      end
      together = together + amount
    elseif is_open(owner) then
      row.held = row.held - amount
    else
      row.live = row.live - amount
    end
  end
  gone()
  answer[#answer + 1] = account
  figures[1], figures[2], figures[3] = row.settled, row.live, row.held
  answer[#answer + 1] = packed(figures)
end
return answer
