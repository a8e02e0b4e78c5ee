-- What every script begins with: one transaction over the keys of one ledger. Each verb has a file of its own, put behind this one and behind
-- the other shared files that it needs. A function that a script has costs it time even if it is not called.
-- The rule is that of `ledgers/transactions.py`; each function names its twin there, or in `ledgers/unit_of_work.py`.
--
-- KEYS[1] is the ledger's state; the other keys share its hash tag, so that a cluster keeps them on one node. KEYS[2] never exists
-- (`Address.absent_key`).
-- ARGV[1] is the request, a JSON object; each verb lists its fields. Texts to be stored as they are (charges, records) are texts in it.
-- Every request may have `ledger`, the id of the ledger that its caller knows, and `seen_ms`, when the newest record was written that the
-- caller knows of. A verb that writes does nothing without the former.
-- Figures are Lua numbers, exact to 2^53. Write them into texts with `digits`: Lua's own conversion rounds to 14 digits.
--
-- A script that meets a damaged value ends with an error before it writes anything, or after `flush`: an error takes nothing back.
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
--   …:sweep            text: how far an unfinished sweep has come
--   …:retired          hash: account that has left the ledger -> what was settled on it
--   …:migration        text that expires: which client is bringing the ledger up to date (`migrate.lua`, which has two more keys)

local call, format, pack, unpack_doubles = redis.call, string.format, struct.pack, struct.unpack

local request = cjson.decode(ARGV[1])
local state, state_as_read, now_ms
local rows, changed, has_checked = {}, {}, false
-- One script takes so many entries out of windows at most (`EXPIRED_AT_ONCE`): the server does nothing else meanwhile. What is left counts
-- until a later script takes it, so a cap is kept all the same. `is_sweeping`: there are leases that the script did not get to.
local expired_left, is_sweeping = 500, false
local taken_back, returning = {}, nil -- accounts that had left the ledger; those of them that are accounts again

-- One account holds this much at most: 9 million dollars in nano-dollars. Up to 2^53 there is room for bills beyond their hold.
local LARGEST, EXACT = 9000000000000000, 9007199254740992

-- Whether these are whole numbers of a size that a ledger has. The bytes of a damaged value may be any number, and even none.
local function are_figures(a, b, c, d)
  return a % 1 + b % 1 + c % 1 + d % 1 == 0 and a * a + b * b + c * c + d * d <= 16 * EXACT * EXACT
end

-- End the script: this value is none that Paymaster wrote (`damage.py` has the kinds).
local function damaged(kind, name)
  error('DAMAGED ' .. cjson.encode({ kind, name }), 0)
end

-- A local that a function uses, but does not declare, costs each script time: constants of one function are declared in it.
--
-- LAYOUT: the order of the fields of everything that is packed. Only this section knows it; all other code uses the names (tickets: see
-- `queue.lua`). Python reads the same in `messages.py`: `read_charges`, `read_row` and `read_hold`.
local STATE, ACCOUNT, HOLD = '<ddddddddddddd', '<dddd', '<dddd'
local FIGURES_BYTES, STATE_BYTES, ROW_BYTES, HOLD_BYTES = 104, 136, 32, 32 -- of the state: its figures, all of it

-- next_lease_end_ms is 0 without open holds. No ticket is valid after queue_until_ms. For forgotten_until_ms see `forget`. `accounts` is
-- how many there are, and `retired` how many have left: if they were removed, it shows. Accounts that may leave are looked for at
-- retire_at_ms (0: never yet) from retire_cursor on; a budget leaves retire_days after its period. The ledger's id is empty before it is
-- made.
local function read_state(text)
  local version, now_ms, next_lease_end_ms, queue_until_ms, record_at_ms, record_number, serial, forgotten_until_ms, accounts, retired, retire_at_ms, retire_cursor, retire_days =
    unpack_doubles(STATE, text)
  -- One sum instead of each figure, as in rows: this is a part of every script.
  local sum = now_ms + next_lease_end_ms + queue_until_ms + record_at_ms + record_number + serial + forgotten_until_ms + accounts
  sum = sum + retired + retire_at_ms + retire_cursor + retire_days
  if sum % 1 ~= 0 or sum < 0 or sum > EXACT then
    damaged('state')
  end
  return {
    version = version,
    now_ms = now_ms,
    next_lease_end_ms = next_lease_end_ms,
    queue_until_ms = queue_until_ms,
    record_at_ms = record_at_ms,
    record_number = record_number,
    serial = serial,
    forgotten_until_ms = forgotten_until_ms,
    accounts = accounts,
    retired = retired,
    retire_at_ms = retire_at_ms,
    retire_cursor = retire_cursor,
    retire_days = retire_days,
    id = string.sub(text, FIGURES_BYTES + 1),
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
    state.forgotten_until_ms,
    state.accounts,
    state.retired,
    state.retire_at_ms,
    state.retire_cursor,
    state.retire_days
  ) .. state.id
end

-- free_at_ms is 0 without entries in the account's window.
local function read_row(account, text)
  if not text then
    return { settled = 0, live = 0, held = 0, free_at_ms = 0 }
  end
  if #text ~= ROW_BYTES then
    damaged('account', account)
  end
  local settled, live, held, free_at_ms = unpack_doubles(ACCOUNT, text)
  local sum = settled + live + held + free_at_ms
  if sum % 1 ~= 0 or sum > 2 * EXACT or sum < -EXACT then
    damaged('account', account)
  end
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

-- Charges that were stored; `kind` and `name` are where. Those of the request need no look.
local function read_kept_charges(text, kind, name)
  if text == request.charges then
    return read_charges(text)
  end
  local is_json, charges = pcall(cjson.decode, text)
  if not is_json or type(charges) ~= 'table' or string.byte(text) ~= 91 or #charges % 4 ~= 0 then -- a list begins with a bracket
    damaged(kind, name)
  end
  local count = #charges / 4
  for number = 1, 4 * count do
    local value = charges[number]
    if type(value) ~= (number <= count and 'string' or 'number') or number > count and not are_figures(value, 0, 0, 0) then
      damaged(kind, name)
    end
  end
  return charges, count
end

-- A hold is four figures, then the text of its charges, the process that made it, and its lost record.
local function read_hold(id, text)
  if #text < HOLD_BYTES then
    damaged('hold', id)
  end
  local at_ms, lease_until_ms, charges_bytes, process_bytes = unpack_doubles(HOLD, text)
  if
    not are_figures(at_ms, lease_until_ms, charges_bytes, process_bytes)
    or charges_bytes < 0
    or process_bytes < 0
    or HOLD_BYTES + charges_bytes + process_bytes > #text
  then
    damaged('hold', id)
  end
  local process_at = HOLD_BYTES + charges_bytes
  return {
    id = id,
    at_ms = at_ms,
    lease_until_ms = lease_until_ms,
    charges = string.sub(text, HOLD_BYTES + 1, process_at),
    lost_record = string.sub(text, process_at + process_bytes + 1),
  }
end

local function pack_hold(at_ms, lease_until_ms, charges, process, lost_record)
  return pack(HOLD, at_ms, lease_until_ms, #charges, #process) .. charges .. process .. lost_record
end

-- IMPORTING is the version of a ledger that an import fills: every script but `import` refuses it. Versions end at 1000. Beyond, a ledger is
-- being brought up to date, to the version that is this much lower: every script but `migrate` answers MIGRATING until it is. Earlier
-- Paymasters take it for a later version.
local VERSION, IMPORTING, MIGRATING = 4, 0, 1004

local base = string.sub(KEYS[1], 1, -6)
local ACCOUNTS, HOLDS, QUEUE, WINDOW = base .. 'accounts', base .. 'holds', base .. 'line', base .. 'window:'
local SWEEP = base .. 'sweep'
local ENDED, LOST, RECORDS, OPENING = base .. 'ended', base .. 'lost', base .. 'records', base .. 'opening'
local RETIRED = base .. 'retired'

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

-- The state of this text. One of another version has that, and maybe not more.
local function read_state_of_any_version(text)
  -- Versions 1 and 2 had a shorter state: without the count of accounts and the id. Version 3 had both, and no accounts that left the
  -- ledger. A version beyond the last one is no version.
  local OLD_STATE_BYTES, FIRST_WITH_ID, LAST_VERSION, OLD_FIGURES_BYTES, OLD_MIGRATING = 64, 3, 1000, 72, 1003
  local RETIRE_DAYS = pack('<d', 35) -- `retirement.py`
  local size = #text
  if size == STATE_BYTES then
    local found = read_state(text)
    if found.id == request.ledger and found.version == VERSION then
      return found
    end
  end
  local version = size >= 8 and unpack_doubles('<d', text) or -1
  if size == OLD_STATE_BYTES and version >= 0 and version < FIRST_WITH_ID then
    return read_state(text .. string.rep('\0', FIGURES_BYTES - OLD_STATE_BYTES - 8) .. RETIRE_DAYS)
  end
  if size == OLD_FIGURES_BYTES + 32 and (version == FIRST_WITH_ID or version == IMPORTING or version == OLD_MIGRATING) then
    local gap = string.rep('\0', FIGURES_BYTES - OLD_FIGURES_BYTES - 8) .. RETIRE_DAYS
    text = string.sub(text, 1, OLD_FIGURES_BYTES) .. gap .. string.sub(text, OLD_FIGURES_BYTES + 1)
    if version == OLD_MIGRATING then
      text, version = pack('<d', MIGRATING) .. string.sub(text, 9), MIGRATING
    end
    size = STATE_BYTES
  end
  if size == STATE_BYTES and (version == VERSION or version == FIRST_WITH_ID or version == IMPORTING or version == MIGRATING) then
    local found = read_state(text)
    if not string.match(found.id, '^%x+$') then
      damaged('state')
    end
    return found
  end
  if version > VERSION and version <= 2 * LAST_VERSION and version % 1 == 0 then
    return { version = version, id = '' }
  end
  damaged('state')
end

-- The state of a ledger that is to be made.
local function new_state()
  local made = read_state(string.rep('\0', FIGURES_BYTES))
  made.retire_days = 35 -- `retirement.py`
  return made
end

-- Why a script can't work with a ledger of this version.
local function version_fault(version)
  local LAST_VERSION = 1000
  if version == MIGRATING then
    return 'MIGRATING'
  end
  return 'VERSION ' .. digits(version > LAST_VERSION and version - LAST_VERSION or version)
end

-- Read the state and take the later of the clock and the ledger's own time (`UnitOfWork.__init__`). Without `clock_ms` the server's clock
-- counts. Answers what the script must answer instead: MISSING, ANOTHER or OLDER (than the caller knows) if this is not the ledger that the
-- request names, VERSION and which if it is not of this one, MIGRATING if it will be soon.
local function begin(clock_ms)
  state_as_read = call('GET', KEYS[1])
  if state_as_read then
    state = read_state_of_any_version(state_as_read)
    if request.ledger and request.ledger ~= state.id and (state.version <= VERSION or state.version == MIGRATING) then
      return 'ANOTHER'
    end
    if state.version ~= VERSION then
      return version_fault(state.version)
    end
    if request.seen_ms and state.record_at_ms < request.seen_ms then
      return 'OLDER ' .. digits(request.seen_ms - state.record_at_ms)
    end
  elseif request.ledger then
    return 'MISSING'
  else
    if call('EXISTS', ACCOUNTS, HOLDS, RECORDS, OPENING, RETIRED) > 0 then
      damaged('key', KEYS[1])
    end
    state = new_state()
    state.version = VERSION
  end
  if not clock_ms then
    local seconds, microseconds = unpack(call('TIME'))
    clock_ms = tonumber(seconds) * 1000 + math.floor(tonumber(microseconds) / 1000)
  end
  now_ms = math.max(clock_ms, state.now_ms)
  state.now_ms = now_ms
end

-- The same as `begin`, for a verb that writes. If the request names no ledger it answers also UNNAMED, the ledger's id, and when its newest
-- record was written; or NONE if there is no ledger.
local function begin_writing(clock_ms)
  local fault = begin(clock_ms)
  if fault or request.ledger then
    return fault
  end
  return state_as_read and 'UNNAMED ' .. state.id .. ' ' .. digits(state.record_at_ms) or 'NONE'
end

-- Write what has changed. What a script does until here is whole, whatever becomes of the rest.
local function flush()
  local written, count = {}, 0
  for account in pairs(changed) do
    written[count + 1], written[count + 2] = account, pack_row(rows[account])
    count = count + 2
    if taken_back[account] then
      taken_back[account], returning = nil, returning or {}
      returning[#returning + 1] = account
    end
    if count == 1000 then -- a call takes a few thousand values at most
      state.accounts = state.accounts + call('HSET', ACCOUNTS, unpack(written))
      written, count = {}, 0
    end
  end
  if count > 0 then
    state.accounts = state.accounts + call('HSET', ACCOUNTS, unpack(written))
  end
  changed = {}
  if returning then -- after they were written as accounts
    for _, account in ipairs(returning) do
      state.retired = state.retired - call('HDEL', RETIRED, account)
    end
    returning = nil
  end
  local text = pack_state(state)
  if text ~= state_as_read then
    call('SET', KEYS[1], text)
    state_as_read = text
  end
end

-- Stop the script if the window of one of these charges is of another type, before anything is written. One that keeps its entry (`but` has
-- the amount that is held) is not written.
local function check_windows(charges, count, but)
  for number = 1, count do
    if charges[WINDOW_MS * count + number] > 0 and not (but and but[number] == charges[AMOUNT * count + number]) then
      call('ZCARD', WINDOW .. charges[number])
    end
  end
end

local function read_entry(account, member)
  local amount, kind, owner = string.match(member, '^(%-?%d+)([:@])(.*)$')
  if not amount then
    damaged('window', account)
  end
  return tonumber(amount), kind == ':' and owner
end

local function is_open(owner)
  return owner and call('HEXISTS', HOLDS, owner) == 1
end

-- When the next entry leaves an account's window (`Store.first_free_at_ms`).
local function first_free_at_ms(account)
  local _, text = unpack(call('ZRANGE', WINDOW .. account, 0, 0, 'WITHSCORES'))
  local free_at_ms = text and tonumber(text) or 0
  if not are_figures(free_at_ms, 0, 0, 0) then
    damaged('window', account)
  end
  return free_at_ms
end

-- End the script if accounts, or the sums of those that left, were removed.
local function check_counts()
  if call('HLEN', ACCOUNTS) ~= state.accounts then
    damaged('key', ACCOUNTS)
  end
  if call('HLEN', RETIRED) ~= state.retired then
    damaged('key', RETIRED)
  end
end

-- Take what has left the window off the sums (`UnitOfWork._free_expired`), as far as the script may. `load` removes so many as this answers.
local function free(account, row)
  local members = call('ZRANGEBYSCORE', WINDOW .. account, '-inf', now_ms, 'LIMIT', 0, expired_left)
  for _, member in ipairs(members) do
    local amount, owner = read_entry(account, member)
    if row.held > 0 and is_open(owner) then
      row.held = row.held - amount
    else
      row.live = row.live - amount
    end
  end
  expired_left = expired_left - #members
  return #members
end

-- The settled sum of an account that has left the ledger, as text.
local function retired_sum(account)
  local text = call('HGET', RETIRED, account)
  if text and not string.match(text, '^%-?%d+$') then
    damaged('retired account', account)
  end
  return text
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
  local texts, freed = call('HMGET', ACCOUNTS, unpack(missing, 1, size)), nil
  for at = 1, size do
    local account = missing[at]
    if not texts[at] and not has_checked then
      has_checked = true
      check_counts() -- some were removed, or all of them
    end
    local row = read_row(account, texts[at])
    if not texts[at] and state.retired > 0 then
      local sum = retired_sum(account)
      row.settled, taken_back[account] = tonumber(sum or 0), sum
    end
    rows[account] = row
    if row.free_at_ms > 0 and row.free_at_ms <= now_ms and expired_left > 0 then
      freed = freed or {}
      freed[account] = free(account, row)
    end
  end
  for account, count in pairs(freed or {}) do -- after all of them were read
    if count > 0 then
      call('ZREMRANGEBYRANK', WINDOW .. account, 0, count - 1)
    end
    rows[account].free_at_ms = first_free_at_ms(account)
    changed[account] = true
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
local function write_hold(id, at_ms, lease_until_ms, charges, process, lost_record)
  call('HSET', HOLDS, id, pack_hold(at_ms, lease_until_ms, charges, process, lost_record))
  if state.next_lease_end_ms == 0 or lease_until_ms < state.next_lease_end_ms then
    state.next_lease_end_ms = lease_until_ms
  end
  if is_sweeping then -- the sweep may not meet this hold
    local cursor, next_ms = string.match(call('GET', SWEEP), '^(%d+) (%d+)$')
    if next_ms == '0' or lease_until_ms < tonumber(next_ms) then
      call('SET', SWEEP, cursor .. ' ' .. digits(lease_until_ms))
    end
  end
end

-- Whether an open hold's entry counts in its account's window (`UnitOfWork.still_counts`).
local function still_counts(account, row, free_at_ms, amount, id)
  return free_at_ms > now_ms
    or amount ~= 0
      and row.free_at_ms > 0
      and row.free_at_ms <= free_at_ms
      and call('ZSCORE', WINDOW .. account, format('%.0f:%s', amount, id))
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
    elseif still_counts(account, row, at_ms + window_ms, held, id) then
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

-- Append to the journal, and remember that the hold has ended (`Store.write_record`); this comes before all else that a script writes. Its position is the ledger's time, so that the
-- journal can be read from any time on.
local function write_record(id, lost, amounts, body)
  state.record_number = state.record_at_ms == now_ms and state.record_number + 1 or 0
  state.record_at_ms = now_ms
  local position = format('%.0f-%.0f', now_ms, state.record_number)
  call('ZCARD', ENDED) -- a key of another type stops the script here
  call('XADD', RECORDS, position, 'hold', id, 'lost', lost, 'amounts', amounts, 'body', body)
  call('ZADD', ENDED, now_ms, id)
  return position
end

-- The open holds but one whose lease is over, of a part of all open holds: the first to end, and at most `LOST_AT_ONCE`. SWEEP keeps how
-- far the scripts have come, and when the first lease ends of those that they left open; it is gone when they have seen all.
local function next_expired(but)
  local LOST_AT_ONCE, HOLDS_AT_ONCE = 20, 200
  local cursor, next_ms = string.match(call('GET', SWEEP) or '0 0', '^(%d+) (%d+)$')
  cursor, next_ms = cursor or '0', tonumber(next_ms or 0)
  local after, found = unpack(call('HSCAN', HOLDS, cursor, 'COUNT', HOLDS_AT_ONCE))
  local expired = {}
  for at = 1, #found, 2 do
    local hold = read_hold(found[at], found[at + 1])
    if hold.lease_until_ms > now_ms then
      next_ms = next_ms > 0 and math.min(next_ms, hold.lease_until_ms) or hold.lease_until_ms
    elseif hold.id ~= but then
      expired[#expired + 1] = hold
    end
  end
  table.sort(expired, function(a, b)
    return a.lease_until_ms < b.lease_until_ms or (a.lease_until_ms == b.lease_until_ms and a.id < b.id)
  end)
  if #expired > LOST_AT_ONCE then
    after = cursor -- again: those that are charged now are not met any more
    expired = { unpack(expired, 1, LOST_AT_ONCE) }
    is_sweeping = true
  end
  is_sweeping = is_sweeping or after ~= '0'
  return expired, after, next_ms
end

-- Charge holds but one whose lease is over in full, and write their records (`transactions._sweep`). `next_lease_end_ms` may lie before the
-- first lease's end, never after it.
local function sweep(but)
  local lost = {}
  if state.next_lease_end_ms == 0 or state.next_lease_end_ms > now_ms then
    return lost
  end
  flush()
  local expired, cursor, next_ms = next_expired(but)
  call('HLEN', LOST)
  local of_all, wanted = {}, {}
  for _, hold in ipairs(expired) do
    hold.parts, hold.count = read_kept_charges(hold.charges, 'hold', hold.id)
    if not pcall(cjson.decode, hold.lost_record) then
      damaged('hold', hold.id)
    end
    check_windows(hold.parts, hold.count)
    for number = 1, hold.count do
      local account = hold.parts[number]
      if not wanted[account] then
        wanted[account] = true
        of_all[#of_all + 1] = account
      end
    end
  end
  for first = 1, #of_all, 1000 do -- a call takes a few thousand values at most
    local some = { unpack(of_all, first, math.min(first + 999, #of_all)) }
    load(some, #some)
  end
  if is_sweeping then
    call('SET', SWEEP, cursor .. ' ' .. digits(next_ms))
  else
    call('DEL', SWEEP)
    state.next_lease_end_ms = next_ms
  end
  for _, hold in ipairs(expired) do
    local charges, count = hold.parts, hold.count
    local amounts = {}
    for number = 1, count do
      amounts[number] = charges[AMOUNT * count + number]
    end
    call('HSET', LOST, hold.id, write_record(hold.id, '1', hold.charges, hold.lost_record))
    local changes = pack('<d', now_ms) .. doubles(fold(hold.id, hold.at_ms, charges, count, amounts, true))
    call('HDEL', HOLDS, hold.id)
    lost[#lost + 1] = { hold.id, hold.charges, hold.lost_record, changes }
  end
  if #expired > 0 then
    flush()
  end
  return lost
end

-- Write what has changed, and answer (`UnitOfWork.close`): a word with its packed figures, followed by the lost holds, if there are any.
local function close(word, figures, lost)
  flush()
  local head = figures and word .. ' ' .. figures or word
  if lost and #lost > 0 then
    table.insert(lost, 1, head)
    return lost
  end
  return head
end
