-- Bring a ledger of an earlier version up to date. Request: new_id (its id from now on). Answers MIGRATED, also if there was nothing to do.
--
-- From 1 to 2, the circuit breaker gets accounts of its own. Before, an open circuit was an amount of 1,000,000 on pause/M, and a half-open
-- one `cap - 1` on slots/M, which ended later (`sqlite/sql/migrations/0004_breaker.sql`, `admin/format_1.py`).
-- From 2 to 3, the ledger gets an id, and each open hold a place for its process. No account is read: there may be millions.

local OPEN = 1000000

local fault = begin()
if fault ~= 'VERSION 1' and fault ~= 'VERSION 2' then
  return fault or 'MIGRATED'
end

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

-- Everything is read before anything is written.
local accounts = state.version == 1 and call('HKEYS', ACCOUNTS) or {}
for _, account in ipairs(accounts) do
  local kind = string.match(account, '^([^/]*)/')
  if kind == 'pause' or kind == 'slots' then
    read_row(account, call('HGET', ACCOUNTS, account))
    posts_of(account)
  end
end
-- A hold of before is three figures, then the text of its charges, then its lost record.
local OLD_HOLD, OLD_HOLD_BYTES = '<ddd', 24
local holds = {}
for id, text in pairs(read_pairs(call('HGETALL', HOLDS))) do
  if #text < OLD_HOLD_BYTES then
    damaged('hold', id)
  end
  local at_ms, lease_until_ms, length = unpack_doubles(OLD_HOLD, text)
  if not are_figures(at_ms, lease_until_ms, length, 0) or length < 0 or OLD_HOLD_BYTES + length > #text then
    damaged('hold', id)
  end
  local charges, lost_record = string.sub(text, OLD_HOLD_BYTES + 1, OLD_HOLD_BYTES + length), string.sub(text, OLD_HOLD_BYTES + length + 1)
  holds[id] = pack_hold(at_ms, lease_until_ms, charges, '', lost_record)
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

for id, text in pairs(holds) do
  call('HSET', HOLDS, id, text)
end
-- What is written below may be new accounts, which `flush` counts.
state.version, state.id, state.accounts = VERSION, request.new_id, call('HLEN', ACCOUNTS)
return close('MIGRATED')
