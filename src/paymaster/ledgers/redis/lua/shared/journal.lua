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

-- Change opening balances: account and amount, and so on. None is changed if one of them is damaged.
local function add_openings(sums)
  for account in pairs(sums) do
    local text = call('HGET', OPENING, account)
    if text and not string.match(text, '^%-?%d+$') then
      damaged('opening balance', account)
    end
  end
  for account, sum in pairs(sums) do
    if sum ~= 0 then
      call('HINCRBY', OPENING, account, digits(sum))
    end
  end
end

-- The amounts that a record charged, as two lists.
local function read_amounts(position, record)
  local accounts, amounts = {}, {}
  if record.lost == '1' then -- its amounts are the charges of the hold
    local charges, count = read_kept_charges(record.amounts or '', 'record', position)
    for number = 1, count do
      if charges[WINDOW_MS * count + number] ~= 0 then
        accounts[#accounts + 1], amounts[#amounts + 1] = charges[number], charges[AMOUNT * count + number]
      end
    end
    return accounts, amounts
  end
  local is_json, found = pcall(cjson.decode, record.amounts or '')
  if not is_json or type(found) ~= 'table' or string.byte(record.amounts) ~= 123 then -- an object begins with a brace
    damaged('record', position)
  end
  for account, amount in pairs(found) do
    if type(amount) ~= 'number' or not are_figures(amount, 0, 0, 0) then
      damaged('record', position)
    end
    accounts[#accounts + 1], amounts[#amounts + 1] = account, amount
  end
  return accounts, amounts
end

-- Take the oldest records out of the journal, up to a position and at most so many (some hundreds). What they charged becomes opening
-- balances (`SqliteAdmin._drop_some`).
local function drop_records(last, count)
  local dropped, positions, sums, larger = call('XRANGE', RECORDS, '-', last, 'COUNT', count), {}, {}, {}
  for number, entry in ipairs(dropped) do
    local position, list = unpack(entry)
    positions[number] = position
    local accounts, amounts = read_amounts(position, read_pairs(list))
    for at, account in ipairs(accounts) do
      local sum = (sums[account] or 0) + amounts[at]
      if math.abs(sum) > LARGEST then
        larger[#larger + 1] = { [account] = amounts[at] }
      else
        sums[account] = sum
      end
    end
  end
  add_openings(sums)
  for _, sum in ipairs(larger) do
    add_openings(sum)
  end
  if #positions > 0 then
    call('XDEL', RECORDS, unpack(positions))
  end
  return #positions
end
