INSERT INTO account (name, settled, live, held) VALUES (?, ?, ?, ?)
