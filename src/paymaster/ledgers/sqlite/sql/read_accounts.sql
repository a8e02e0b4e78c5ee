-- One ? for each name asked for takes the place of :names.
SELECT name, settled, live, held, free_ms FROM account WHERE name IN (:names)
