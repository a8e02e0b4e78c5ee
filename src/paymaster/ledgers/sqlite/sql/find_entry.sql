SELECT account, free_ms, owner, amount, is_open FROM entry WHERE account = ? AND free_ms = ? AND owner = ?
