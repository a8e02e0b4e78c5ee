SELECT min(free_ms) FROM entry WHERE account = ?
