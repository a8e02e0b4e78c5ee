SELECT account, free_ms, owner, amount, is_open FROM entry WHERE account = ? ORDER BY free_ms, owner
