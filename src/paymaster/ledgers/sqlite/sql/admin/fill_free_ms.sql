UPDATE account SET free_ms = (SELECT min(free_ms) FROM entry WHERE entry.account = account.name)
