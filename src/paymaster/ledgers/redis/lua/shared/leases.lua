-- What the renewal of leases needs of a packed hold.

-- LAYOUT of a hold (`unit_of_work.lua`): its lease is the second of its four figures.
local function with_lease(text, lease_until_ms)
  return string.sub(text, 1, 8) .. pack('<d', lease_until_ms) .. string.sub(text, 17)
end

-- The process that made a hold which was read from this text; empty if it is not known.
local function process_of(hold, text)
  local from = HOLD_BYTES + #hold.charges
  return string.sub(text, from + 1, #text - #hold.lost_record)
end
