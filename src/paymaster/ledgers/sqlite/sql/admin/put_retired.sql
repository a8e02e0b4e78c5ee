INSERT OR REPLACE INTO retired (account, settled) VALUES (?, ?)
