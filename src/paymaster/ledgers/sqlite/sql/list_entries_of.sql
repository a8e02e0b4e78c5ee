-- :names is replaced by one ? for each name.
SELECT account, free_ms, owner, amount, is_open FROM entry WHERE account IN (:names) ORDER BY account, free_ms, owner
