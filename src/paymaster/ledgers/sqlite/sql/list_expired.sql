SELECT amount, is_open FROM entry WHERE account = ? AND free_ms <= ?
