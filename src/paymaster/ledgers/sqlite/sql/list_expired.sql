SELECT account, free_ms, owner, amount, is_open FROM entry WHERE free_ms <= ? ORDER BY free_ms, account, owner LIMIT ?
