INSERT OR REPLACE INTO opening (account, amount) VALUES (?, ?)
