-- Read a part of the journal.
-- ARGV: from which place on, up to which ('' the newest there is), how many. Answers RECORDS, the last place to read to, and the entries.

local fault = begin('0')
if fault then
  return fault
end
local last = ARGV[2]
if last == '' then
  local newest = call('XREVRANGE', RECORDS, '+', '-', 'COUNT', 1)
  last = newest[1] and newest[1][1] or '0-1'
end
return { 'RECORDS', last, call('XRANGE', RECORDS, ARGV[1], last, 'COUNT', ARGV[3]) }
