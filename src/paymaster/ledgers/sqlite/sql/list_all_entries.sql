SELECT account, free_ms, owner, amount, is_open FROM entry WHERE account >= ? AND account < ? ORDER BY account, free_ms, owner
