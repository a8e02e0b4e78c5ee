-- The queue: who waits for room, in the order of the first refusal (`LedgerQueue`).

-- LAYOUT of a ticket, in MessagePack. Tickets of earlier versions end with asks.
local function read_ticket(id, text, now_ms)
  local turn, until_ms, asks, names, since_ms = cmsgpack.unpack(text)
  return { id = id, turn = turn, until_ms = until_ms, asks = asks, names = names or {}, since_ms = since_ms or now_ms }
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
