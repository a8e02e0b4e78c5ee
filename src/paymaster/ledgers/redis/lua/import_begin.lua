-- import_begin
-- Make room for an import in a ledger that is empty, or whose import did not come to its end. Until `import_end` every other script refuses it.
-- ARGV: the import's token. Answers BEGUN, or FULL and how many accounts and records there are.

local state = call('GET', KEYS[1])
if state and #state ~= 64 then
  return redis.error_reply(FOREIGN)
end
-- Where the state alone is gone, as a server that drops keys may leave it, what else there is must not go as well.
local version = state and unpack_figures('<d', state) or VERSION
if version ~= 0 then
  if version ~= VERSION then
    return 'VERSION ' .. figure(version)
  end
  local accounts, records = call('HLEN', ACCOUNTS), call('XLEN', RECORDS)
  if accounts + records + call('HLEN', HOLDS) + call('HLEN', OPENING) > 0 then
    return 'FULL ' .. packed({ accounts, records })
  end
end
for _, account in ipairs(call('HKEYS', ACCOUNTS)) do
  call('DEL', WINDOW .. account)
end
call('DEL', ACCOUNTS, HOLDS, LINE, ENDED, LOST, RECORDS, OPENING)
call('SET', KEYS[1], pack('<dddddddd', 0, tonumber(ARGV[1]), 0, 0, 0, 0, 0, 0))
return 'BEGUN'
