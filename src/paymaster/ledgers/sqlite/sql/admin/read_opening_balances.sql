SELECT account, amount FROM opening ORDER BY account
