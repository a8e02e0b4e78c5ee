-- import_put
-- Put the next items of an import in.
-- ARGV: the import's token, the part's number (from 1; one that is in already is not put again), the items: lists that begin with their
--   kind. Charges and amounts are texts, kept as they are.
-- Answers PUT, or TAKEN where another import has begun since.

local state = call('GET', KEYS[1])
local version, token
if state then
  version, token, lease_ms, line_ms, record_ms, record_number, serial, forgotten_ms = unpack_figures('<dddddddd', state)
end
if version ~= 0 or token ~= tonumber(ARGV[1]) then
  return 'TAKEN'
end

if line_ms == tonumber(ARGV[2]) then
  return 'PUT'
end
line_ms = tonumber(ARGV[2])
local put = {}

function put.account(_, name, settled, live, held)
  call('HSET', ACCOUNTS, name, pack('<dddd', settled, live, held, 0))
end

function put.opening(_, account, amount)
  call('HSET', OPENING, account, figure(amount))
end

function put.hold(_, id, at_ms, lease_until_ms, charges, lost_record)
  call('HSET', HOLDS, id, pack('<ddd', at_ms, lease_until_ms, #charges) .. charges .. lost_record)
  if lease_ms == 0 or lease_until_ms < lease_ms then
    lease_ms = lease_until_ms
  end
end

function put.entry(_, account, until_ms, owner, amount)
  local row = read_row(call('HGET', ACCOUNTS, account))
  if owner == '' then
    serial = serial + 1
    enter(account, row, until_ms, figure(amount) .. '@' .. figure(serial))
  else
    enter(account, row, until_ms, format('%.0f:%s', amount, owner))
  end
  call('HSET', ACCOUNTS, account, pack('<dddd', row.settled, row.live, row.held, row.free))
end

function put.record(_, id, at_ms, lost, amounts, body)
  now = at_ms
  local place = write_record(id, lost, amounts, body)
  if lost == '1' then
    call('HSET', LOST, id, place)
  end
end

for _, item in ipairs(cjson.decode(ARGV[3])) do
  put[item[1]](unpack(item))
end
local too_many = call('ZCARD', ENDED) - REMEMBERED
if too_many > 0 then
  forget(too_many)
end
call('SET', KEYS[1], pack('<dddddddd', 0, token, lease_ms, line_ms, record_ms, record_number, serial, forgotten_ms))
return 'PUT'
