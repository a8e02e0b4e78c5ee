-- Which keys of the ledger are of another type than Paymaster makes them: for a message, after the server refused to work with one.
-- Request: nothing. Answers KINDS and for each key its name and its type.

local found = { 'KINDS' }
local function expect(key, kind)
  local is_kind = call('TYPE', key).ok
  if is_kind ~= 'none' and is_kind ~= kind then
    found[#found + 1] = key
    found[#found + 1] = is_kind
  end
end

expect(KEYS[1], 'string')
expect(SWEEP, 'string')
for _, key in ipairs({ ACCOUNTS, HOLDS, QUEUE, LOST, OPENING, RETIRED }) do
  expect(key, 'hash')
end
expect(ENDED, 'zset')
expect(RECORDS, 'stream')
-- So many windows take some milliseconds.
if #found == 1 and call('HLEN', ACCOUNTS) <= 10000 then
  for _, account in ipairs(call('HKEYS', ACCOUNTS)) do
    expect(WINDOW .. account, 'zset')
  end
end
return found
