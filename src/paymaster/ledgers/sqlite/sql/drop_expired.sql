DELETE FROM entry WHERE account = ? AND free_ms <= ?
