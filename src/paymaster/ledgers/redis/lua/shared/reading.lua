-- What a verb that reads begins with.

-- The same as `begin`. Ends the script if accounts were removed: what is left of a ledger is not to be reported as all of it.
local function begin_reading(clock_ms)
  local fault = begin(clock_ms)
  if not fault then
    check_counts()
  end
  return fault
end
