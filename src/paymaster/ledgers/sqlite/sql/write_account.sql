REPLACE INTO account (name, settled, live, held) VALUES (?, ?, ?, ?)
