-- Post the actual amounts and the record, at most once per hold; never refuse.
-- ARGV: clock, hold, when it was admitted, charges, actual amounts, amounts of the record, record, posts, clears, what the journal said
--   ('' not looked up, 'new' no record, else the place of its record as lost), for how many ms records are kept ('' for good).
-- Answers SETTLED at (before after)…, AGAIN at, FORGOTTEN where only the journal knows whether the hold has ended, or LARGE account.

local fault = begin(ARGV[1])
if fault then
  return fault
end
local id, held_at_ms, looked_up = ARGV[2], tonumber(ARGV[3]), ARGV[10]
local hold, lost_place, stands = find_hold(id), nil, false
if not hold then
  lost_place = call('HGET', LOST, id)
  if not lost_place then
    stands = call('ZSCORE', ENDED, id)
    if not stands and looked_up == '' and held_at_ms <= forgotten_ms then
      return 'FORGOTTEN'
    end
    if not stands and looked_up ~= '' and looked_up ~= 'new' then
      lost_place = looked_up
    end
  end
end
local charges, count = read_charges(hold and hold.packed or ARGV[4])
local amounts = cjson.decode(ARGV[5])
load(charges, count)
for at = 1, count do
  local account = charges[at]
  local row = rows[account]
  if not stands and row.settled + row.live + amounts[at] > EXACT then
    return 'LARGE ' .. account
  end
end

-- Replace what was charged for a lost hold by what it really cost.
local function correct()
  local changes = {}
  for at = 1, count do
    local account, charged, window = charges[at], charges[count + at], charges[3 * count + at]
    local row, amount = rows[account], amounts[at]
    changes[#changes + 1] = row.settled + row.live
    if window < 0 then
      row.settled = row.settled + amount - charged
    elseif window > 0 then
      local free_ms = held_at_ms + window
      local there = charged ~= 0 and call('ZREM', WINDOW .. account, format('%.0f:%s', charged, id)) == 1
      -- Otherwise the window has passed, or it was emptied since.
      if there or charged == 0 and free_ms > now then
        row.live = row.live + amount - charged
        if amount ~= 0 then
          enter(account, row, free_ms, format('%.0f:%s', amount, id))
        end
      end
    end
    changed[account] = true
    changes[#changes + 1] = row.settled + row.live
  end
  return changes
end

-- This hold is settled, late or not, and no loss.
local told = sweep(id)
if stands then
  return close('AGAIN', { now }, told)
end
local changes
if hold then
  changes = fold(id, hold.at, charges, count, amounts, true)
  call('HDEL', HOLDS, id)
elseif lost_place then
  changes = correct()
  if call('XDEL', RECORDS, lost_place) == 0 then -- its record has left the journal: what it charged stands among the openings
    for at = 1, count do
      if charges[count + at] ~= 0 and charges[3 * count + at] ~= 0 then
        call('HINCRBY', OPENING, charges[at], figure(-charges[count + at]))
      end
    end
  end
  call('HDEL', LOST, id)
else
  changes = fold(id, math.min(held_at_ms, now), charges, count, amounts, false)
end
write_record(id, '0', ARGV[6], ARGV[7])
if ARGV[8] ~= '' or ARGV[9] ~= '' then
  post(ARGV[8] ~= '' and cjson.decode(ARGV[8]) or {}, ARGV[9] ~= '' and cjson.decode(ARGV[9]) or {}, changes)
end

serial = serial + 1
if serial % FORGET_EVERY == 0 then
  local too_many = math.min(call('ZCARD', ENDED) - REMEMBERED, 4 * FORGET_EVERY)
  if too_many > 0 then
    forget(too_many)
  end
  if ARGV[11] ~= '' then
    drop_records(figure(math.max(0, now - tonumber(ARGV[11]))), 2 * FORGET_EVERY)
  end
end
table.insert(changes, 1, now)
return close('SETTLED', changes, told)
