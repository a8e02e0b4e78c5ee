SELECT account, settled FROM retired ORDER BY account
