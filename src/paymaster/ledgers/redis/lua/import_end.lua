-- import_end
-- Make what was imported a ledger.
-- ARGV: the import's token, the ledger's time. Answers ENDED, or TAKEN where another import has begun since.

local state = call('GET', KEYS[1])
local version, token
if state then
  version, token, lease_ms, line_ms, record_ms, record_number, serial, forgotten_ms = unpack_figures('<dddddddd', state)
end
if version == VERSION then
  return 'ENDED' -- and the first answer was lost
end
if version ~= 0 or token ~= tonumber(ARGV[1]) then
  return 'TAKEN'
end
call('SET', KEYS[1], pack('<dddddddd', VERSION, tonumber(ARGV[2]), lease_ms, 0, record_ms, record_number, serial, forgotten_ms))
return 'ENDED'
