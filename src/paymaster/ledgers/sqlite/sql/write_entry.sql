REPLACE INTO entry (account, free_ms, owner, amount, is_open) VALUES (?, ?, ?, ?, ?)
