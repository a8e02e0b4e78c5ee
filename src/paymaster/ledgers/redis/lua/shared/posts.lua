-- What no hold carries.

-- Read the accounts of charges, posts and clears, and the windows that are to be emptied. Whatever of it is damaged ends the script before
-- it writes. A window in which no open hold has anything is dropped as a whole, and not read.
local function load_all(charges, count, posts, clears)
  local accounts = { unpack(charges, 1, count) }
  for _, account in ipairs(clears) do
    accounts[#accounts + 1] = account
    call('ZCARD', WINDOW .. account)
    if read_row(account, call('HGET', ACCOUNTS, account)).held ~= 0 then
      for _, member in ipairs(call('ZRANGE', WINDOW .. account, 0, -1)) do
        read_entry(account, member)
      end
    end
  end
  for _, entry in ipairs(posts) do
    accounts[#accounts + 1] = entry.account
    if entry.for_ms ~= cjson.null then
      call('ZCARD', WINDOW .. entry.account)
    end
  end
  load(accounts, #accounts)
end

-- Empty windows, then add what no hold carries (`transactions._post`). Their accounts are loaded. The changes of the posts come before those of the clears.
local function post(posts, clears, changes)
  local cleared = {}
  for _, account in ipairs(clears) do
    local row, window = rows[account], WINDOW .. account
    if row.held == 0 then
      call('UNLINK', window)
    else
      for _, member in ipairs(call('ZRANGE', window, 0, -1)) do
        local _, owner = read_entry(account, member)
        if not is_open(owner) then
          call('ZREM', window, member)
        end
      end
    end
    cleared[#cleared + 1] = row.settled + row.live
    row.live, row.free_at_ms = 0, first_free_at_ms(account)
    changed[account] = true
    cleared[#cleared + 1] = row.settled
  end
  for _, entry in ipairs(posts) do
    local row = rows[entry.account]
    changes[#changes + 1] = row.settled + row.live
    if entry.for_ms == cjson.null then
      row.settled = row.settled + entry.amount
    else
      state.serial = state.serial + 1
      row.live = row.live + entry.amount
      enter(entry.account, row, now_ms + entry.for_ms, format('%.0f@%.0f', entry.amount, state.serial))
    end
    changed[entry.account] = true
    changes[#changes + 1] = row.settled + row.live
  end
  for _, sum in ipairs(cleared) do
    changes[#changes + 1] = sum
  end
end
