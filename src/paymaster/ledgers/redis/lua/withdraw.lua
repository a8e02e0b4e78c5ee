-- Take a hold back as if it had never been made: its ticket, and what it holds while it is open (`transactions.withdraw`).
-- Request: hold. The ledger's time stays as it is. Answers OK.

local fault = begin(0)
if fault then
  return fault
end
local id = request.hold
call('HDEL', QUEUE, id)
local open = find_hold(id)
if open then
  local charges, count = read_charges(open.charges)
  local nothing = {}
  for number = 1, count do
    nothing[number] = 0
  end
  fold(id, open.at_ms, charges, count, nothing, true)
  call('HDEL', HOLDS, id)
end
return close('OK')
