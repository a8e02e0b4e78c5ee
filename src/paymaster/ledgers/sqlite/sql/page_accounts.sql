SELECT name, settled, live, held FROM account WHERE name > ? ORDER BY name LIMIT ?
