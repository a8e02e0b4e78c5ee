DELETE FROM entry WHERE account = ? AND is_open = 0
