-- import_drop
-- Undo an import that failed. ARGV: the import's token. Answers DROPPED, or TAKEN where another import has begun since.

local state = call('GET', KEYS[1])
local version, token
if state then
  version, token = unpack_figures('<dd', state)
end
if version ~= 0 or token ~= tonumber(ARGV[1]) then
  return 'TAKEN'
end
for _, account in ipairs(call('HKEYS', ACCOUNTS)) do
  call('DEL', WINDOW .. account)
end
call('DEL', KEYS[1], ACCOUNTS, HOLDS, LINE, ENDED, LOST, RECORDS, OPENING)
return 'DROPPED'
