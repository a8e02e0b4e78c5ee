REPLACE INTO account (name, settled, live, held, free_ms) VALUES (?, ?, ?, ?, ?)
