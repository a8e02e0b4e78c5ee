SELECT name, settled, live, held FROM account WHERE name >= ? AND name < ? ORDER BY name
