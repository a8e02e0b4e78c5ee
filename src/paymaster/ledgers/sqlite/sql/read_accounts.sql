-- :names is replaced by one ? for each name.
SELECT name, settled, live, held FROM account WHERE name IN (:names)
