REPLACE INTO retired (account, settled) VALUES (?, ?)
