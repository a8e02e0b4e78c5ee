-- The queue: who waits for room, in the order of the first refusal (`LedgerQueue`).

-- LAYOUT of a ticket, in MessagePack. Tickets of earlier versions end with asks.
local function read_ticket(id, text, now_ms)
  local is_packed, turn, until_ms, asks, names, since_ms = pcall(cmsgpack.unpack, text)
  if not is_packed or type(turn) ~= 'number' or type(until_ms) ~= 'number' or type(asks) ~= 'table' then
    damaged('ticket', id)
  end
  names, since_ms = names or {}, since_ms or now_ms
  if type(names) ~= 'table' or type(since_ms) ~= 'number' or not are_figures(turn, until_ms, since_ms, 0) then
    damaged('ticket', id)
  end
  for _, figures in ipairs({ asks, names }) do
    for name, figure in pairs(figures) do
      if type(name) ~= 'string' or type(figure) ~= 'number' or not are_figures(figure, 0, 0, 0) then
        damaged('ticket', id)
      end
    end
  end
  return { id = id, turn = turn, until_ms = until_ms, asks = asks, names = names, since_ms = since_ms }
end

local function pack_ticket(ticket)
  return cmsgpack.pack(ticket.turn, ticket.until_ms, ticket.asks, ticket.names, ticket.since_ms)
end

-- The tickets that are still valid, by their turn; and the ids of the others (`LedgerQueue.__init__`).
local function read_tickets()
  local tickets, expired = {}, {}
  for id, text in pairs(read_pairs(call('HGETALL', QUEUE))) do
    local ticket = read_ticket(id, text, now_ms)
    if ticket.until_ms > now_ms then
      tickets[#tickets + 1] = ticket
    else
      expired[#expired + 1] = id
    end
  end
  table.sort(tickets, function(a, b)
    return a.turn < b.turn
  end)
  return tickets, expired
end
