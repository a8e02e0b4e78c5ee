SELECT name, settled, live, held FROM account ORDER BY name
