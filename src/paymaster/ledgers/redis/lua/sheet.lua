-- What every script begins with: the working paper of one transaction over the keys of one ledger. Each verb stands in a file of its own.
--
-- KEYS[1] is the ledger's state; the other keys share its hash tag, so that a cluster keeps them all in one place.
-- Figures are Lua numbers, exact to 2^53: in texts they are written with `figure` alone, as Lua's own conversion rounds to 14 digits.
--
-- What is written and read at every call is packed: eight figures of a state or four of an account take one step instead of one each.
--
--   …:state            packed: version, the ledger's time, earliest lease, latest ticket, last record's time and number, serial, forgotten
--   …:accounts         hash: account -> packed: settled live held free_ms (0: nothing is to leave its window)
--   …:window:ACCOUNT   sorted set by free_ms: "amount:hold" for holds, "amount@serial" for posts; an entry of 0 is left out
--   …:holds            hash: hold -> packed: at_ms lease_until_ms length_of_charges; then the charges and the lost record
--   …:line             hash: hold -> a packed ticket
--   …:ended            sorted set: the holds that ended last, by when; `lost` names those of them that were charged as lost
--   …:lost             hash: hold -> its record's place in the journal
--   …:records          stream: the journal
--   …:opening          hash: account -> what records that are no longer in the journal had charged
--
-- While a ledger is being filled by an import its version is 0, so that every other script refuses it; its time is the import's token, and
-- where the latest ticket would stand is the number of the last part.

local VERSION = 1
-- One account holds this much at most: 9 million dollars in nano-dollars. What is left to 2^53 is room for bills beyond their hold.
local LARGEST, EXACT = 9000000000000000, 9007199254740992
-- So many ended holds are remembered, and the oldest forgotten at every so many settlements. Who comes later is looked up in the journal.
local REMEMBERED, FORGET_EVERY = 16384, 256
local FOREIGN = 'WRONGTYPE what stands there is not the state of a ledger'

local call, format, pack, unpack_figures = redis.call, string.format, struct.pack, struct.unpack
local base = string.sub(KEYS[1], 1, -6)
local ACCOUNTS, HOLDS, LINE, WINDOW = base .. 'accounts', base .. 'holds', base .. 'line', base .. 'window:'
local ENDED, LOST, RECORDS, OPENING = base .. 'ended', base .. 'lost', base .. 'records', base .. 'opening'

local now, lease_ms, line_ms, record_ms, record_number, serial, forgotten_ms
local as_read
local rows, changed = {}, {}

local function figure(number)
  return format('%.0f', number)
end

-- Read the state and take the later of the clock and the ledger's own time. `given` is a caller's clock, '' the server's. A fault is a word.
local function begin(given)
  as_read = call('GET', KEYS[1])
  if as_read then
    if #as_read ~= 64 then
      return redis.error_reply(FOREIGN)
    end
    local version
    version, now, lease_ms, line_ms, record_ms, record_number, serial, forgotten_ms = unpack_figures('<dddddddd', as_read)
    if version ~= VERSION then
      return 'VERSION ' .. figure(version)
    end
  else
    now, lease_ms, line_ms, record_ms, record_number, serial, forgotten_ms = 0, 0, 0, 0, 0, 0, 0
  end
  local clock_ms
  if given == '' then
    local time = call('TIME')
    clock_ms = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  else
    clock_ms = tonumber(given)
  end
  if clock_ms > now then
    now = clock_ms
  end
end

local function parse_entry(member)
  local amount, kind, owner = string.match(member, '^(%-?%d+)([:@])(.*)$')
  return tonumber(amount), kind == ':' and owner
end

local function is_open(owner)
  return owner and call('HEXISTS', HOLDS, owner) == 1
end

local function first_free_ms(account)
  local first = call('ZRANGE', WINDOW .. account, 0, 0, 'WITHSCORES')
  return first[2] and tonumber(first[2]) or 0
end

local function read_row(text)
  if not text then
    return { settled = 0, live = 0, held = 0, free = 0 }
  end
  local settled, live, held, free = unpack_figures('<dddd', text)
  return { settled = settled, live = live, held = held, free = free }
end

-- Take what has left the window off the sums.
local function free_left(account, row)
  local window = WINDOW .. account
  for _, member in ipairs(call('ZRANGEBYSCORE', window, '-inf', now)) do
    local amount, owner = parse_entry(member)
    if row.held > 0 and is_open(owner) then
      row.held = row.held - amount
    else
      row.live = row.live - amount
    end
  end
  call('ZREMRANGEBYSCORE', window, '-inf', now)
  row.free = first_free_ms(account)
  changed[account] = true
end

-- Read the first so many accounts of a list, unless they were read before.
local function load(accounts, count)
  local missing = {}
  for at = 1, count do
    if not rows[accounts[at]] then
      missing[#missing + 1] = accounts[at]
    end
  end
  if #missing == 0 then
    return
  end
  local texts = call('HMGET', ACCOUNTS, unpack(missing))
  for at = 1, #missing do
    local account, row = missing[at], read_row(texts[at])
    rows[account] = row
    if row.free > 0 and row.free <= now then
      free_left(account, row)
    end
  end
end

local function enter(account, row, free_ms, member)
  call('ZADD', WINDOW .. account, free_ms, member)
  if row.free == 0 or free_ms < row.free then
    row.free = free_ms
  end
end

-- The charges of a hold stand one part after the other: all accounts, all amounts, all caps (-1: none), all windows (-1: for good).
-- Answers that list, and how many charges there are.
local function read_charges(text)
  local charges = cjson.decode(text)
  return charges, #charges / 4
end

local function read_hold(text)
  local at_ms, lease_until_ms, length = unpack_figures('<ddd', text)
  return { at = at_ms, lease = lease_until_ms, packed = string.sub(text, 25, 24 + length), text = text }
end

local function lost_record(hold)
  return string.sub(hold.text, 25 + #hold.packed)
end

local function find_hold(id)
  local text = call('HGET', HOLDS, id)
  return text and read_hold(text)
end

-- End an open hold: free what it held, count the actual amounts. The changes are figures: before and after, for each charge.
local function fold(id, at_ms, charges, count, amounts, was_held)
  local changes = {}
  load(charges, count)
  for at = 1, count do
    local account, window = charges[at], charges[3 * count + at]
    local held = was_held and charges[count + at] or 0
    local row, amount = rows[account], amounts[at]
    changes[2 * at - 1] = row.settled + row.live
    if window < 0 then
      row.held, row.settled = row.held - held, row.settled + amount
    elseif window == 0 then
      row.held = row.held - held
    elseif at_ms + window > now then
      row.held, row.live = row.held - held, row.live + amount
      if held ~= amount then
        if held ~= 0 then
          call('ZREM', WINDOW .. account, format('%.0f:%s', held, id))
        end
        if amount ~= 0 then
          enter(account, row, at_ms + window, format('%.0f:%s', amount, id))
        end
      end
    end
    if held ~= 0 or amount ~= 0 then
      changed[account] = true
    end
    changes[2 * at] = row.settled + row.live
  end
  return changes
end

-- Figures as they are answered.
local function packed(figures)
  return pack('<' .. string.rep('d', #figures), unpack(figures))
end

-- Append to the journal, and remember that the hold has ended. The place is the ledger's time, so that the journal is read from any time on.
local function write_record(id, lost, amounts, body)
  record_number = record_ms == now and record_number + 1 or 0
  record_ms = now
  local place = call('XADD', RECORDS, format('%.0f-%.0f', now, record_number), 'hold', id, 'lost', lost, 'amounts', amounts, 'body', body)
  call('ZADD', ENDED, now, id)
  return place
end

-- Forget the oldest holds that have ended, so many.
local function forget(too_many)
  local oldest = call('ZRANGE', ENDED, 0, too_many - 1, 'WITHSCORES')
  for at = 1, #oldest, 2 do
    call('HDEL', LOST, oldest[at])
  end
  call('ZREMRANGEBYRANK', ENDED, 0, too_many - 1)
  forgotten_ms = math.max(forgotten_ms, tonumber(oldest[#oldest]))
end

-- Take the oldest records out of the journal, up to a place and at most so many (some hundreds); what they charged stays, as openings.
local function drop_records(last, count)
  local dropped, places, sums = call('XRANGE', RECORDS, '-', last, 'COUNT', count), {}, {}
  local function add(account, amount)
    local sum = (sums[account] or 0) + amount
    if math.abs(sum) > LARGEST then
      call('HINCRBY', OPENING, account, figure(amount))
    else
      sums[account] = sum
    end
  end
  for at, entry in ipairs(dropped) do
    places[at] = entry[1]
    local fields = entry[2]
    local amounts = cjson.decode(fields[6])
    if fields[4] == '1' then -- the charges stand there as the hold brought them
      local size = #amounts / 4
      for number = 1, size do
        if amounts[3 * size + number] ~= 0 then
          add(amounts[number], amounts[size + number])
        end
      end
    else
      for account, amount in pairs(amounts) do
        add(account, amount)
      end
    end
  end
  for account, sum in pairs(sums) do
    if sum ~= 0 then
      call('HINCRBY', OPENING, account, figure(sum))
    end
  end
  if #places > 0 then
    call('XDEL', RECORDS, unpack(places))
  end
  return #places
end

-- Charge every hold but one whose lease is over in full, and write its record. `lease_ms` may lie before the first lease's end, never after it.
local function sweep(but)
  local told = {}
  if lease_ms == 0 or lease_ms > now then
    return told
  end
  local over, earliest = {}, 0
  local all = call('HGETALL', HOLDS)
  for at = 1, #all, 2 do
    local hold = read_hold(all[at + 1])
    hold.id = all[at]
    if hold.lease <= now then
      over[#over + 1] = hold.id ~= but and hold or nil
    elseif earliest == 0 or hold.lease < earliest then
      earliest = hold.lease
    end
  end
  lease_ms = earliest
  table.sort(over, function(a, b)
    return a.lease < b.lease or (a.lease == b.lease and a.id < b.id)
  end)
  for _, hold in ipairs(over) do
    local charges, count = read_charges(hold.packed)
    local amounts = {}
    for number = 1, count do
      amounts[number] = charges[count + number]
    end
    local changes = fold(hold.id, hold.at, charges, count, amounts, true)
    call('HDEL', HOLDS, hold.id)
    call('HSET', LOST, hold.id, write_record(hold.id, '1', hold.packed, lost_record(hold)))
    table.insert(changes, 1, now)
    told[#told + 1] = { hold.id, hold.packed, lost_record(hold), packed(changes) }
  end
  return told
end

-- Empty windows, then add what no hold carries; the changes of the posts stand before those of the clears.
local function post(posts, clears, changes)
  local cleared = {}
  for _, account in ipairs(clears) do
    load({ account }, 1)
    local row, window = rows[account], WINDOW .. account
    for _, member in ipairs(call('ZRANGE', window, 0, -1)) do
      local _, owner = parse_entry(member)
      if not is_open(owner) then
        call('ZREM', window, member)
      end
    end
    cleared[#cleared + 1] = row.settled + row.live
    row.live, row.free = 0, first_free_ms(account)
    changed[account] = true
    cleared[#cleared + 1] = row.settled
  end
  for _, entry in ipairs(posts) do
    local account, amount, for_ms = entry[1], entry[2], entry[3]
    load({ account }, 1)
    local row = rows[account]
    changes[#changes + 1] = row.settled + row.live
    if for_ms == cjson.null then
      row.settled = row.settled + amount
    else
      serial = serial + 1
      row.live = row.live + amount
      enter(account, row, now + for_ms, figure(amount) .. '@' .. figure(serial))
    end
    changed[account] = true
    changes[#changes + 1] = row.settled + row.live
  end
  for _, text in ipairs(cleared) do
    changes[#changes + 1] = text
  end
end

-- Those who stand in line and whose time is not up, by their turn; and the others.
local function read_line()
  local tickets, gone = {}, {}
  local all = call('HGETALL', LINE)
  for at = 1, #all, 2 do
    local turn, until_ms, asks, names, since_ms = cmsgpack.unpack(all[at + 1])
    if until_ms > now then
      tickets[#tickets + 1] = { id = all[at], turn = turn, until_ms = until_ms, asks = asks, names = names or {}, since_ms = since_ms or now }
    else
      gone[#gone + 1] = all[at]
    end
  end
  table.sort(tickets, function(a, b)
    return a.turn < b.turn
  end)
  return tickets, gone
end

-- Write what has changed, and answer: a word with its figures, followed by what was lost where there is any.
local function close(word, figures, told)
  local written, count = {}, 0
  for account in pairs(changed) do
    local row = rows[account]
    written[count + 1] = account
    written[count + 2] = pack('<dddd', row.settled, row.live, row.held, row.free)
    count = count + 2
    if count == 1000 then -- a call takes a few thousand values at most
      call('HSET', ACCOUNTS, unpack(written))
      written, count = {}, 0
    end
  end
  if count > 0 then
    call('HSET', ACCOUNTS, unpack(written))
  end
  local state = pack('<dddddddd', VERSION, now, lease_ms, line_ms, record_ms, record_number, serial, forgotten_ms)
  if state ~= as_read then
    call('SET', KEYS[1], state)
  end
  local head = figures and word .. ' ' .. packed(figures) or word
  if told and #told > 0 then
    table.insert(told, 1, head)
    return told
  end
  return head
end
