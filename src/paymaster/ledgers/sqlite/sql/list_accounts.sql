SELECT name, settled, live, held, free_ms FROM account WHERE name >= ? AND name < ? ORDER BY name
