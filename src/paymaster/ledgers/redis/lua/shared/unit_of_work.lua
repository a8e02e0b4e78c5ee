-- What every script begins with: one transaction over the keys of one ledger. Each verb has a file of its own, put behind this one and behind
-- the other shared files that it needs. A function that a script has costs it time even if it is not called.
-- The rule is that of `ledgers/transactions.py`; each function names its twin there, or in `ledgers/unit_of_work.py`.
--
-- KEYS[1] is the ledger's state; the other keys share its hash tag, so that a cluster keeps them on one node.
-- ARGV[1] is the request, a JSON object; each verb lists its fields. Texts to be stored as they are (charges, records) are texts in it.
-- Figures are Lua numbers, exact to 2^53. Write them into texts with `digits`: Lua's own conversion rounds to 14 digits.
--
-- The keys (what is packed is described under LAYOUT):
--
--   …:state            the packed state
--   …:accounts         hash: account -> its packed row
--   …:window:ACCOUNT   sorted set by free_at_ms: "amount:hold" for holds, "amount@serial" for posts; an entry of 0 is left out
--   …:holds            hash: open hold -> the packed hold
--   …:line             hash: hold that waits in the queue -> its packed ticket
--   …:ended            sorted set: the holds that ended last, by time
--   …:lost             hash: those of them that were charged as lost -> the position of the record in the journal
--   …:records          stream: the journal
--   …:opening          hash: account -> what records that are no longer in the journal had charged

local call, format, pack, unpack_doubles = redis.call, string.format, struct.pack, struct.unpack

-- LAYOUT: the order of the fields of everything that is packed. Only this section knows it; all other code uses the names (tickets: see
-- `queue.lua`). Python reads the same in `messages.read_charges` and, for an export, in `RedisAdmin.snapshot`.
local STATE, ACCOUNT, HOLD = '<dddddddd', '<dddd', '<ddd'
local STATE_BYTES, HOLD_BYTES = 64, 24

-- next_lease_end_ms is 0 without open holds. No ticket is valid after queue_until_ms. For forgotten_until_ms see `forget`.
local function read_state(text)
  local version, now_ms, next_lease_end_ms, queue_until_ms, record_at_ms, record_number, serial, forgotten_until_ms =
    unpack_doubles(STATE, text)
  return {
    version = version,
    now_ms = now_ms,
    next_lease_end_ms = next_lease_end_ms,
    queue_until_ms = queue_until_ms,
    record_at_ms = record_at_ms,
    record_number = record_number,
    serial = serial,
    forgotten_until_ms = forgotten_until_ms,
  }
end

local function pack_state(state)
  return pack(
    STATE,
    state.version,
    state.now_ms,
    state.next_lease_end_ms,
    state.queue_until_ms,
    state.record_at_ms,
    state.record_number,
    state.serial,
    state.forgotten_until_ms
  )
end

-- free_at_ms is 0 without entries in the account's window.
local function read_row(text)
  if not text then
    return { settled = 0, live = 0, held = 0, free_at_ms = 0 }
  end
  local settled, live, held, free_at_ms = unpack_doubles(ACCOUNT, text)
  return { settled = settled, live = live, held = held, free_at_ms = free_at_ms }
end

local function pack_row(row)
  return pack(ACCOUNT, row.settled, row.live, row.held, row.free_at_ms)
end

-- Charges are one JSON list of columns: the accounts, then the amounts, the caps (-1: none) and the windows (-1: for good, 0: while the hold
-- is open). The account of a charge is `charges[number]`, its amount `charges[AMOUNT * count + number]`.
local AMOUNT, CAP, WINDOW_MS = 1, 2, 3
local function read_charges(text)
  local charges = cjson.decode(text)
  return charges, #charges / 4
end

-- A hold is three figures, then the text of its charges, then its lost record.
local function read_hold(id, text)
  local at_ms, lease_until_ms, length = unpack_doubles(HOLD, text)
  return {
    id = id,
    at_ms = at_ms,
    lease_until_ms = lease_until_ms,
    charges = string.sub(text, HOLD_BYTES + 1, HOLD_BYTES + length),
    lost_record = string.sub(text, HOLD_BYTES + length + 1),
  }
end

local function pack_hold(at_ms, lease_until_ms, charges, lost_record)
  return pack(HOLD, at_ms, lease_until_ms, #charges) .. charges .. lost_record
end

local VERSION = 2
-- The version of a ledger that an import fills: every script but `import` refuses it.
local IMPORTING = 0
-- One account holds this much at most: 9 million dollars in nano-dollars. Up to 2^53 there is room for bills beyond their hold.
local LARGEST, EXACT = 9000000000000000, 9007199254740992
local FOREIGN = 'WRONGTYPE this key is not the state of a ledger'

local base = string.sub(KEYS[1], 1, -6)
local ACCOUNTS, HOLDS, QUEUE, WINDOW = base .. 'accounts', base .. 'holds', base .. 'line', base .. 'window:'
local ENDED, LOST, RECORDS, OPENING = base .. 'ended', base .. 'lost', base .. 'records', base .. 'opening'

local request = cjson.decode(ARGV[1])
local state, state_as_read, now_ms
local rows, changed = {}, {}

local function digits(number)
  return format('%.0f', number)
end

-- Numbers as they are answered and stored.
local function doubles(numbers)
  local count = #numbers
  if count <= 4000 then -- a call takes a few thousand values at most
    return pack('<' .. string.rep('d', count), unpack(numbers))
  end
  local parts = {}
  for first = 1, count, 4000 do
    local last = math.min(first + 3999, count)
    parts[#parts + 1] = pack('<' .. string.rep('d', last - first + 1), unpack(numbers, first, last))
  end
  return table.concat(parts)
end

-- A flat list of names and values, as Redis answers hashes and the fields of a record.
local function read_pairs(list)
  local found = {}
  for at = 1, #list, 2 do
    found[list[at]] = list[at + 1]
  end
  return found
end

-- Read the state and take the later of the clock and the ledger's own time (`UnitOfWork.__init__`). Without `clock_ms` the server's clock
-- counts. Answers what the script must answer instead, if this is not a ledger of this version.
local function begin(clock_ms)
  state_as_read = call('GET', KEYS[1])
  if state_as_read then
    if #state_as_read ~= STATE_BYTES then
      return redis.error_reply(FOREIGN)
    end
    state = read_state(state_as_read)
    if state.version ~= VERSION then
      return 'VERSION ' .. digits(state.version)
    end
  else
    state = read_state(string.rep('\0', STATE_BYTES))
    state.version = VERSION
  end
  if not clock_ms then
    local seconds, microseconds = unpack(call('TIME'))
    clock_ms = tonumber(seconds) * 1000 + math.floor(tonumber(microseconds) / 1000)
  end
  now_ms = math.max(clock_ms, state.now_ms)
  state.now_ms = now_ms
end

local function read_entry(member)
  local amount, kind, owner = string.match(member, '^(%-?%d+)([:@])(.*)$')
  return tonumber(amount), kind == ':' and owner
end

local function is_open(owner)
  return owner and call('HEXISTS', HOLDS, owner) == 1
end

-- When the next entry leaves an account's window (`Store.first_free_at_ms`).
local function first_free_at_ms(account)
  local _, free_at_ms = unpack(call('ZRANGE', WINDOW .. account, 0, 0, 'WITHSCORES'))
  return free_at_ms and tonumber(free_at_ms) or 0
end

-- Take what has left the window off the sums (`UnitOfWork._free`).
local function free(account, row)
  local window = WINDOW .. account
  for _, member in ipairs(call('ZRANGEBYSCORE', window, '-inf', now_ms)) do
    local amount, owner = read_entry(member)
    if row.held > 0 and is_open(owner) then
      row.held = row.held - amount
    else
      row.live = row.live - amount
    end
  end
  call('ZREMRANGEBYSCORE', window, '-inf', now_ms)
  row.free_at_ms = first_free_at_ms(account)
  changed[account] = true
end

-- Read the first so many accounts of a list, unless they were read before (`UnitOfWork.load`).
local function load(accounts, count)
  local missing, size = accounts, count
  if next(rows) then
    missing, size = {}, 0
    for number = 1, count do
      if not rows[accounts[number]] then
        size = size + 1
        missing[size] = accounts[number]
      end
    end
  end
  if size == 0 then
    return
  end
  local texts = call('HMGET', ACCOUNTS, unpack(missing, 1, size))
  for at = 1, size do
    local account, row = missing[at], read_row(texts[at])
    rows[account] = row
    if row.free_at_ms > 0 and row.free_at_ms <= now_ms then
      free(account, row)
    end
  end
end

-- Put an entry into a window; the caller changes the sums (`UnitOfWork.enter`).
local function enter(account, row, free_at_ms, member)
  call('ZADD', WINDOW .. account, free_at_ms, member)
  if row.free_at_ms == 0 or free_at_ms < row.free_at_ms then
    row.free_at_ms = free_at_ms
  end
end

local function find_hold(id)
  local text = call('HGET', HOLDS, id)
  return text and read_hold(id, text)
end

-- Keep an open hold (`Store.write_hold`), and look for leases that are over no later than its end.
local function write_hold(id, at_ms, lease_until_ms, charges, lost_record)
  call('HSET', HOLDS, id, pack_hold(at_ms, lease_until_ms, charges, lost_record))
  if state.next_lease_end_ms == 0 or lease_until_ms < state.next_lease_end_ms then
    state.next_lease_end_ms = lease_until_ms
  end
end

-- End a hold: free what it held, count the actual amounts (`transactions._fold`). Answers before and after, for each charge.
local function fold(id, at_ms, charges, count, amounts, was_held)
  local changes = {}
  load(charges, count)
  for number = 1, count do
    local account, window_ms = charges[number], charges[WINDOW_MS * count + number]
    local held = was_held and charges[AMOUNT * count + number] or 0
    local row, amount = rows[account], amounts[number]
    changes[2 * number - 1] = row.settled + row.live
    if window_ms < 0 then
      row.held, row.settled = row.held - held, row.settled + amount
    elseif window_ms == 0 then
      row.held = row.held - held
    elseif at_ms + window_ms > now_ms then
      row.held, row.live = row.held - held, row.live + amount
      if held ~= amount then
        if held ~= 0 then
          call('ZREM', WINDOW .. account, format('%.0f:%s', held, id))
        end
        if amount ~= 0 then
          enter(account, row, at_ms + window_ms, format('%.0f:%s', amount, id))
        end
      end
    end
    if held ~= 0 or amount ~= 0 then
      changed[account] = true
    end
    changes[2 * number] = row.settled + row.live
  end
  return changes
end

-- Append to the journal, and remember that the hold has ended (`Store.write_record`). Its position is the ledger's time, so that the
-- journal can be read from any time on.
local function write_record(id, lost, amounts, body)
  state.record_number = state.record_at_ms == now_ms and state.record_number + 1 or 0
  state.record_at_ms = now_ms
  local position = format('%.0f-%.0f', now_ms, state.record_number)
  call('XADD', RECORDS, position, 'hold', id, 'lost', lost, 'amounts', amounts, 'body', body)
  call('ZADD', ENDED, now_ms, id)
  return position
end

-- Charge every hold but one whose lease is over in full, and write its record (`transactions._sweep`). `next_lease_end_ms` may lie before
-- the first lease's end, never after it.
local function sweep(but)
  local lost = {}
  if state.next_lease_end_ms == 0 or state.next_lease_end_ms > now_ms then
    return lost
  end
  local expired, next_lease_end_ms = {}, 0
  for id, text in pairs(read_pairs(call('HGETALL', HOLDS))) do
    local hold = read_hold(id, text)
    if hold.lease_until_ms <= now_ms then
      expired[#expired + 1] = id ~= but and hold or nil
    elseif next_lease_end_ms == 0 or hold.lease_until_ms < next_lease_end_ms then
      next_lease_end_ms = hold.lease_until_ms
    end
  end
  state.next_lease_end_ms = next_lease_end_ms
  table.sort(expired, function(a, b)
    return a.lease_until_ms < b.lease_until_ms or (a.lease_until_ms == b.lease_until_ms and a.id < b.id)
  end)
  for _, hold in ipairs(expired) do
    local charges, count = read_charges(hold.charges)
    local amounts = {}
    for number = 1, count do
      amounts[number] = charges[AMOUNT * count + number]
    end
    local changes = pack('<d', now_ms) .. doubles(fold(hold.id, hold.at_ms, charges, count, amounts, true))
    call('HDEL', HOLDS, hold.id)
    call('HSET', LOST, hold.id, write_record(hold.id, '1', hold.charges, hold.lost_record))
    lost[#lost + 1] = { hold.id, hold.charges, hold.lost_record, changes }
  end
  return lost
end

-- Write what has changed, and answer (`UnitOfWork.close`): a word with its packed figures, followed by the lost holds, if there are any.
local function close(word, figures, lost)
  local written, count = {}, 0
  for account in pairs(changed) do
    written[count + 1], written[count + 2] = account, pack_row(rows[account])
    count = count + 2
    if count == 1000 then -- a call takes a few thousand values at most
      call('HSET', ACCOUNTS, unpack(written))
      written, count = {}, 0
    end
  end
  if count > 0 then
    call('HSET', ACCOUNTS, unpack(written))
  end
  local text = pack_state(state)
  if text ~= state_as_read then
    call('SET', KEYS[1], text)
  end
  local head = figures and word .. ' ' .. figures or word
  if lost and #lost > 0 then
    table.insert(lost, 1, head)
    return lost
  end
  return head
end
