-- :names is replaced by one ? for each name.
SELECT name, settled, live, held, free_ms FROM account WHERE name IN (:names)
