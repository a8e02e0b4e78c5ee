-- What leaves the ledger with time: ended holds that are forgotten, and records that become opening balances.

-- So many ended holds are remembered, and the oldest forgotten at every so many settlements. Older ones are looked up in the journal.
local REMEMBERED, FORGET_EVERY = 16384, 256

-- Forget so many holds that ended first. Whether a hold has ended that was admitted until then, only the journal knows.
local function forget(count)
  local oldest, ended_at_ms = call('ZRANGE', ENDED, 0, count - 1, 'WITHSCORES'), 0
  for at = 1, #oldest, 2 do
    local id
    id, ended_at_ms = oldest[at], tonumber(oldest[at + 1])
    call('HDEL', LOST, id)
  end
  call('ZREMRANGEBYRANK', ENDED, 0, count - 1)
  state.forgotten_until_ms = math.max(state.forgotten_until_ms, ended_at_ms)
end

-- Take the oldest records out of the journal, up to a position and at most so many (some hundreds). What they charged becomes opening
-- balances (`SqliteAdmin._drop_some`).
local function drop_records(last, count)
  local dropped, positions, sums = call('XRANGE', RECORDS, '-', last, 'COUNT', count), {}, {}
  local function add(account, amount)
    local sum = (sums[account] or 0) + amount
    if math.abs(sum) > LARGEST then
      call('HINCRBY', OPENING, account, digits(amount))
    else
      sums[account] = sum
    end
  end
  for number, entry in ipairs(dropped) do
    local position, list = unpack(entry)
    local record = read_pairs(list)
    positions[number] = position
    if record.lost == '1' then -- its amounts are the charges of the hold
      local charges, size = read_charges(record.amounts)
      for at = 1, size do
        if charges[WINDOW_MS * size + at] ~= 0 then
          add(charges[at], charges[AMOUNT * size + at])
        end
      end
    else
      for account, amount in pairs(cjson.decode(record.amounts)) do
        add(account, amount)
      end
    end
  end
  for account, sum in pairs(sums) do
    if sum ~= 0 then
      call('HINCRBY', OPENING, account, digits(sum))
    end
  end
  if #positions > 0 then
    call('XDEL', RECORDS, unpack(positions))
  end
  return #positions
end
