-- Post the actual amounts and the record, at most once per hold; never refuse (`transactions.settle`).
-- Request: clock_ms (absent: the server's), hold, held_at_ms, charges, amounts, charged (the amounts of the record), record, posts, clears,
--   journal (absent: not looked up; "new": it has no record of the hold; else the position of its record as lost),
--   keep_ms (how long records are kept; absent: for good).
-- Answers SETTLED at (before after)…, AGAIN at, FORGOTTEN if only the journal knows whether the hold has ended, or LARGE account.
--   SETTLED_AND_DUE besides asks its caller for `retire`.
-- Needs: journal, posts, retirement.

local fault = begin_writing(request.clock_ms)
if fault then
  return fault
end
local id, held_at_ms = request.hold, request.held_at_ms
local open, lost_position, is_settled = find_hold(id), nil, false
if not open then
  lost_position = call('HGET', LOST, id)
  if not lost_position then
    is_settled = call('ZSCORE', ENDED, id)
    if not is_settled and not request.journal and held_at_ms <= state.forgotten_until_ms then
      return 'FORGOTTEN'
    end
    if not is_settled and request.journal ~= 'new' then
      lost_position = request.journal
    end
  elseif not string.match(lost_position, '^%d+%-%d+$') then
    damaged('lost hold', id)
  end
end
local charges, count, amounts = nil, nil, request.amounts
if open then
  charges, count = read_kept_charges(open.charges, 'hold', id)
else
  charges, count = read_charges(request.charges)
end
check_windows(charges, count, open and amounts)
load_all(charges, count, request.posts or {}, request.clears or {})
for number = 1, count do
  local row = rows[charges[number]]
  if not is_settled and row.settled + row.live + amounts[number] > EXACT then
    return close('LARGE ' .. charges[number])
  end
end

-- Replace what was charged for a lost hold by what it really cost (`transactions._correct`).
local function correct()
  local changes = {}
  for number = 1, count do
    local account, charged, window_ms = charges[number], charges[AMOUNT * count + number], charges[WINDOW_MS * count + number]
    local row, amount = rows[account], amounts[number]
    changes[#changes + 1] = row.settled + row.live
    if window_ms < 0 then
      row.settled = row.settled + amount - charged
    elseif window_ms > 0 then
      local free_at_ms = held_at_ms + window_ms
      local had_entry = charged ~= 0 and call('ZREM', WINDOW .. account, format('%.0f:%s', charged, id)) == 1
      -- Otherwise the window has passed, or it was emptied since.
      if had_entry or charged == 0 and free_at_ms > now_ms then
        row.live = row.live + amount - charged
        if amount ~= 0 then
          enter(account, row, free_at_ms, format('%.0f:%s', amount, id))
        end
      end
    end
    changed[account] = true
    changes[#changes + 1] = row.settled + row.live
  end
  return changes
end

-- This hold is settled, late or not: it is never swept as lost.
local lost = sweep(id)
if is_settled then
  return close('AGAIN', pack('<d', now_ms), lost)
end
local changes
if lost_position and #call('XRANGE', RECORDS, lost_position, lost_position) == 0 then
  local charged = {} -- its record has left the journal: what it charged is in the opening balances
  for number = 1, count do
    if charges[WINDOW_MS * count + number] ~= 0 then
      charged[charges[number]] = -charges[AMOUNT * count + number]
    end
  end
  add_openings(charged)
end
write_record(id, '0', request.charged, request.record)
if open then
  changes = fold(id, open.at_ms, charges, count, amounts, true)
  call('HDEL', HOLDS, id)
elseif lost_position then
  changes = correct()
  call('XDEL', RECORDS, lost_position)
  call('HDEL', LOST, id)
else
  changes = fold(id, math.min(held_at_ms, now_ms), charges, count, amounts, false)
end
if request.posts or request.clears then
  post(request.posts or {}, request.clears or {}, changes)
end

state.serial = state.serial + 1
if state.serial % FORGET_EVERY == 0 then
  flush()
  local too_many = math.min(call('ZCARD', ENDED) - REMEMBERED, 4 * FORGET_EVERY)
  if too_many > 0 then
    forget(too_many)
  end
  if request.keep_ms then
    drop_records(digits(math.max(0, now_ms - request.keep_ms)), 2 * FORGET_EVERY)
  end
end
-- Whose settlement is the first when it is time looks at some accounts (`retirement.retire_in_passing`).
local word = 'SETTLED'
if state.retire_at_ms <= now_ms then
  word = state.retire_at_ms > 0 and 'SETTLED_AND_DUE' or word
  state.retire_at_ms = now_ms + (state.retire_at_ms > 0 and PAGE_EVERY_MS or LOOK_EVERY_MS)
end
return close(word, pack('<d', now_ms) .. doubles(changes), lost)
