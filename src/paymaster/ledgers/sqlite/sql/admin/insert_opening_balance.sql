INSERT INTO opening (account, amount) VALUES (?, ?)
