-- drop
-- Take the oldest records out of the journal; what they charged stays, as openings.
-- ARGV: up to which place, at most how many. Answers DROPPED and how many.

local fault = begin('0')
if fault then
  return fault
end
return 'DROPPED ' .. packed({ drop_records(ARGV[1], ARGV[2]) })
