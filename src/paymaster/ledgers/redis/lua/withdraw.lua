-- Take a hold back as if it had never been asked for: its place in line, and what it holds while it is open.
-- ARGV: hold. The ledger's time stays as it is. Answers OK.

local fault = begin('0')
if fault then
  return fault
end
local id = ARGV[1]
call('HDEL', LINE, id)
local hold = find_hold(id)
if hold then
  local charges, count = read_charges(hold.packed)
  local nothing = {}
  for at = 1, count do
    nothing[at] = 0
  end
  fold(id, hold.at, charges, count, nothing, true)
  call('HDEL', HOLDS, id)
end
return close('OK')
