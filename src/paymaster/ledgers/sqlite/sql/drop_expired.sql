DELETE FROM entry WHERE free_ms <= ?
