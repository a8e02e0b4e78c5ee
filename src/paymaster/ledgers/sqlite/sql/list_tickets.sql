SELECT hold_id, turn, until_ms, asks, names, since_ms FROM ticket ORDER BY turn
