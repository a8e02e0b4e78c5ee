-- Take a hold back as if it had never been made: its ticket, and what it holds while it is open (`transactions.withdraw`).
-- Request: hold. The ledger's time stays as it is. Answers OK.

local fault = begin_writing(0)
if fault then
  return fault
end
local id = request.hold
local open = find_hold(id)
local charges, count
if open then
  charges, count = read_kept_charges(open.charges, 'hold', id)
  check_windows(charges, count)
end
call('HDEL', QUEUE, id)
if open then
  load(charges, count)
  local nothing = {}
  for number = 1, count do
    nothing[number] = 0
  end
  fold(id, open.at_ms, charges, count, nothing, true)
  call('HDEL', HOLDS, id)
end
return close('OK')
