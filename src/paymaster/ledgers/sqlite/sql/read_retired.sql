-- :names is replaced by one ? for each name.
SELECT account, settled, 0, 0 FROM retired WHERE account IN (:names)
