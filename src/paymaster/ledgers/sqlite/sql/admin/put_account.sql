INSERT OR REPLACE INTO account (name, settled, live, held) VALUES (?, ?, ?, ?)
