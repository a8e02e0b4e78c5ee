UPDATE clock SET dropped_until_ms = max(dropped_until_ms, (SELECT at_ms FROM record WHERE seq <= ? ORDER BY seq DESC LIMIT 1))
