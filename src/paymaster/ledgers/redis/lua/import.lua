-- The steps of an import. Until its last one every other script refuses the ledger.
-- Request: step, token (the import's own number), and the fields of the step, which are listed below.
-- Answers as listed below, or TAKEN if another import has begun since.
--
-- While a ledger is being filled, its now_ms is the import's token, and its queue_until_ms the number of the last part.
-- Needs: journal.

local steps, put = {}, {}

-- Make room in a ledger that is empty, or whose import did not end: new_id (the id of what is imported). Answers BEGUN, or FULL and how many accounts and records there are.
function steps.begin(text)
  -- Without a state there may be other keys: a server that drops keys may have dropped the state alone. They must not be lost as well.
  local version = text and read_state_of_any_version(text).version or VERSION
  if version ~= IMPORTING then
    if version ~= VERSION then
      return version_fault(version)
    end
    local accounts, records = call('HLEN', ACCOUNTS), call('XLEN', RECORDS)
    if accounts + records + call('HLEN', HOLDS) + call('HLEN', OPENING) + call('HLEN', RETIRED) > 0 then
      return 'FULL ' .. doubles({ accounts, records })
    end
  end
  for _, account in ipairs(call('HKEYS', ACCOUNTS)) do
    call('DEL', WINDOW .. account)
  end
  call('DEL', ACCOUNTS, HOLDS, QUEUE, ENDED, LOST, RECORDS, OPENING, SWEEP, RETIRED)
  state = new_state()
  state.version, state.now_ms, state.id = IMPORTING, request.token, request.new_id
  call('SET', KEYS[1], pack_state(state))
  return 'BEGUN'
end

-- Put the next items in: items (objects with their `kind`; `charges` and `amounts` are texts, kept as they are), part (its number, from 1;
-- a part that is in already is not put in again). Answers PUT.
function steps.put()
  if state.queue_until_ms == request.part then
    return 'PUT'
  end
  state.queue_until_ms = request.part
  for _, item in ipairs(request.items) do
    put[item.kind](item)
  end
  local too_many = call('ZCARD', ENDED) - REMEMBERED
  if too_many > 0 then
    forget(too_many)
  end
  call('SET', KEYS[1], pack_state(state))
  return 'PUT'
end

function put.account(item)
  local row = { settled = item.settled, live = item.live, held = item.held, free_at_ms = 0 }
  state.accounts = state.accounts + call('HSET', ACCOUNTS, item.account, pack_row(row))
end

function put.retired(item)
  state.retired = state.retired + call('HSET', RETIRED, item.account, digits(item.settled))
end

function put.opening(item)
  call('HSET', OPENING, item.account, digits(item.amount))
end

function put.hold(item)
  write_hold(item.id, item.at_ms, item.lease_until_ms, item.charges, item.process or '', item.lost_record)
end

function put.entry(item)
  local row, member = read_row(item.account, call('HGET', ACCOUNTS, item.account)), format('%.0f:%s', item.amount, item.owner)
  if item.owner == '' then
    state.serial = state.serial + 1
    member = format('%.0f@%.0f', item.amount, state.serial)
  end
  enter(item.account, row, item.until_ms, member)
  state.accounts = state.accounts + call('HSET', ACCOUNTS, item.account, pack_row(row))
end

function put.record(item)
  now_ms = item.at_ms
  local position = write_record(item.id, item.lost, item.amounts, item.body)
  if item.lost == '1' then
    call('HSET', LOST, item.id, position)
  end
end

-- Make a ledger of what was imported: clock_ms (the ledger's time), retire_days. Answers ENDED.
steps['end'] = function()
  state.retire_days = request.retire_days
  state.version, state.now_ms, state.queue_until_ms = VERSION, request.clock_ms, 0
  call('SET', KEYS[1], pack_state(state))
  return 'ENDED'
end

-- Undo an import that failed. Answers DROPPED.
function steps.drop()
  for _, account in ipairs(call('HKEYS', ACCOUNTS)) do
    call('DEL', WINDOW .. account)
  end
  call('DEL', KEYS[1], ACCOUNTS, HOLDS, QUEUE, ENDED, LOST, RECORDS, OPENING, SWEEP, RETIRED)
  return 'DROPPED'
end

local text = call('GET', KEYS[1])
if request.step ~= 'begin' then
  state = text and read_state_of_any_version(text) or new_state()
  if request.step == 'end' and state.version == VERSION then
    return 'ENDED' -- the first answer did not arrive
  end
  if not text or state.version ~= IMPORTING or state.now_ms ~= request.token then
    return 'TAKEN'
  end
end
return steps[request.step](text)
