-- The steps by which a ledger of an earlier version is brought up to date. Until the last one every other script answers MIGRATING.
-- Request: step, token (a text of the client's own), and the fields of the step, which are listed below.
-- Answers as listed below; MIGRATED if there is nothing to do; TAKEN if another client does it now, or the ledger is gone.
--
-- From 1 to 2, the circuit breaker gets accounts of its own. Before, an open circuit was an amount of 1,000,000 on pause/M, and a half-open
-- one `cap - 1` on slots/M, which ended later (`sqlite/sql/migrations/0004_breaker.sql`, `admin/format_1.py`).
-- From 2 to 3, the ledger gets an id, and each open hold a place for its process: that is `begin`. Then the client reads all accounts,
-- records and holds, page by page, and puts what has to be added to which accounts into a draft (`redis/migration.py`). The first `add`
-- makes it final: from then on nothing is read again, and whichever client is left adds the rest.
-- From 3 to 4, accounts may leave the ledger: the state says how many have. That is all of it, and done by `begin`.
-- Needs: journal.

-- A client that is not heard of for so long is dead, and another one does its work.
local PATIENCE_MS = 60000
-- So many of each are read or added at once: a matter of milliseconds.
local ACCOUNTS_AT_ONCE, HOLDS_AT_ONCE, RECORDS_AT_ONCE, ADDED_AT_ONCE = 1000, 200, 500, 500
-- Lists of account, amount, and so on.
local MIGRATION, DRAFT, ADDITIONS = base .. 'migration', base .. 'migration-draft', base .. 'migration-additions'
local OPEN = 1000000

local steps = {}

-- Rows are read as they are: entries whose time is over are freed by the next call, as ever.
local function row_of(account)
  rows[account] = rows[account] or read_row(account, call('HGET', ACCOUNTS, account))
  changed[account] = true
  return rows[account]
end

local entered = {}
local function enter_once(account, free_at_ms)
  local entry = account .. ' ' .. free_at_ms
  if not entered[entry] then
    entered[entry] = true
    state.serial = state.serial + 1
    local row = row_of(account)
    row.live = row.live + 1
    enter(account, row, tonumber(free_at_ms), format('1@%.0f', state.serial))
  end
end

-- The posts in an account's window: a list of member, amount and end.
local function posts_of(account)
  local found, members = {}, call('ZRANGE', WINDOW .. account, 0, -1, 'WITHSCORES')
  for at = 1, #members, 2 do
    local amount, owner = read_entry(account, members[at])
    if not owner then
      found[#found + 1] = { member = members[at], amount = amount, free_at_ms = members[at + 1] }
    end
  end
  return found
end

local function take(account, entry, amount)
  local row = row_of(account)
  call('ZREM', WINDOW .. account, entry.member)
  row.live = row.live - amount
  if amount < entry.amount then
    state.serial = state.serial + 1
    call('ZADD', WINDOW .. account, entry.free_at_ms, format('%.0f@%.0f', entry.amount - amount, state.serial))
  end
  row.free_at_ms = first_free_at_ms(account)
end

-- From 1 to 2.
local function give_breakers_accounts()
  local accounts = call('HKEYS', ACCOUNTS)
  for _, account in ipairs(accounts) do -- all of them are read before anything is written
    local kind = string.match(account, '^([^/]*)/')
    if kind == 'pause' or kind == 'slots' then
      read_row(account, call('HGET', ACCOUNTS, account))
      posts_of(account)
    end
  end
  for _, account in ipairs(accounts) do
    local kind, model = string.match(account, '^([^/]*)/(.*)$')
    if kind == 'pause' then
      for _, entry in ipairs(posts_of(account)) do
        if entry.amount >= OPEN then
          take(account, entry, entry.amount - entry.amount % OPEN)
          enter_once('probe/' .. model, entry.free_at_ms)
          enter_once('breaker/' .. model, entry.free_at_ms)
        end
      end
    elseif kind == 'slots' then
      for _, entry in ipairs(posts_of(account)) do
        take(account, entry, entry.amount)
        enter_once('breaker/' .. model, entry.free_at_ms)
      end
    elseif kind == 'unrest' then
      local renamed = 'overloads-minute/' .. model
      call('HSET', ACCOUNTS, renamed, call('HGET', ACCOUNTS, account))
      call('HDEL', ACCOUNTS, account)
      if call('EXISTS', WINDOW .. account) == 1 then
        call('RENAME', WINDOW .. account, WINDOW .. renamed)
      end
    end
  end
end

-- From 2 to 3: a hold of before is three figures, then the text of its charges, then its lost record. Answers id -> the hold of today.
local OLD_HOLD, OLD_HOLD_BYTES = '<ddd', 24
local function read_old_holds()
  local found = {}
  for id, text in pairs(read_pairs(call('HGETALL', HOLDS))) do
    if #text < OLD_HOLD_BYTES then
      damaged('hold', id)
    end
    local at_ms, lease_until_ms, length = unpack_doubles(OLD_HOLD, text)
    if not are_figures(at_ms, lease_until_ms, length, 0) or length < 0 or OLD_HOLD_BYTES + length > #text then
      damaged('hold', id)
    end
    local charges, lost_record = string.sub(text, OLD_HOLD_BYTES + 1, OLD_HOLD_BYTES + length), string.sub(text, OLD_HOLD_BYTES + length + 1)
    found[id] = pack_hold(at_ms, lease_until_ms, charges, '', lost_record)
  end
  return found
end

-- Take over, unless another client is alive: new_id (the ledger's id, if it has none yet). Answers BEGUN; ADDING if all that is left is
-- `add`; MIGRATING if another client is at it.
function steps.begin()
  local fault = begin()
  if fault == 'VERSION 1' or fault == 'VERSION 2' then
    local holds = read_old_holds() -- all of them, before anything is written
    if state.version == 1 then
      give_breakers_accounts()
    end
    for id, text in pairs(holds) do
      call('HSET', HOLDS, id, text)
    end
    -- `flush` counts the accounts that are written there for the first time.
    state.version, state.id, state.accounts = MIGRATING, request.new_id, call('HLEN', ACCOUNTS)
    flush()
  elseif fault == 'VERSION 3' then
    state.version = VERSION
    flush()
    return 'MIGRATED'
  elseif fault ~= 'MIGRATING' then
    return fault or 'MIGRATED'
  end
  local client = call('GET', MIGRATION)
  if client and client ~= request.token then
    return 'MIGRATING'
  end
  call('SET', MIGRATION, request.token, 'PX', PATIENCE_MS)
  if call('EXISTS', ADDITIONS) == 1 then
    return 'ADDING'
  end
  call('DEL', DRAFT)
  return 'BEGUN'
end

-- Read some accounts: cursor ("0" at first). Answers ACCOUNTS, the next cursor ("0" at the end), and account, row, and so on.
function steps.accounts()
  local cursor, found = unpack(call('HSCAN', ACCOUNTS, request.cursor, 'COUNT', ACCOUNTS_AT_ONCE))
  return { 'ACCOUNTS', cursor, found }
end

-- Read some open holds: cursor. Answers HOLDS, the next cursor, and id, hold, and so on.
function steps.holds()
  local cursor, found = unpack(call('HSCAN', HOLDS, request.cursor, 'COUNT', HOLDS_AT_ONCE))
  return { 'HOLDS', cursor, found }
end

-- Read some records: first (a position). Answers RECORDS, and the entries; none at the end.
function steps.records()
  return { 'RECORDS', call('XRANGE', RECORDS, request.first, '+', 'COUNT', RECORDS_AT_ONCE) }
end

-- Put the next additions into the draft: items (account, amount as text, and so on), already (how many parts it had before; a repeated
-- step does nothing twice). Answers PUT.
function steps.put()
  if call('EXISTS', ADDITIONS) == 0 and call('LLEN', DRAFT) == request.already then
    call('RPUSH', DRAFT, unpack(request.items))
  end
  return 'PUT'
end

-- Add some of the draft to their accounts and their opening balances. Answers ADDED if there are more.
function steps.add()
  if call('EXISTS', DRAFT) == 1 then
    call('RENAME', DRAFT, ADDITIONS)
  end
  local items, sums = call('LRANGE', ADDITIONS, 0, 2 * ADDED_AT_ONCE - 1), {}
  for at = 1, #items, 2 do
    local account, amount = items[at], tonumber(items[at + 1])
    local row = row_of(account)
    row.settled = row.settled + amount
    sums[account] = (sums[account] or 0) + amount
  end
  add_openings(sums)
  local is_last = call('LLEN', ADDITIONS) == #items
  if is_last then
    state.version = VERSION
    call('DEL', ADDITIONS, MIGRATION)
  else
    call('LTRIM', ADDITIONS, #items, -1)
  end
  flush()
  return is_last and 'MIGRATED' or 'ADDED'
end

-- Give up: another client may begin at once. Answers LEFT.
function steps.leave()
  call('DEL', MIGRATION)
  return 'LEFT'
end

if request.step ~= 'begin' then
  state_as_read = call('GET', KEYS[1])
  state = state_as_read and read_state_of_any_version(state_as_read)
  if state and state.version == VERSION then
    return 'MIGRATED' -- the first answer did not arrive
  end
  if not state or state.version ~= MIGRATING or call('GET', MIGRATION) ~= request.token then
    return 'TAKEN'
  end
  call('PEXPIRE', MIGRATION, PATIENCE_MS)
end
return steps[request.step]()
