SELECT account, free_ms, owner, amount, is_open FROM entry WHERE free_ms = ? AND account = ? AND owner = ?
