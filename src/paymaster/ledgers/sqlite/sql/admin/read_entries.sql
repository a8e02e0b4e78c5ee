-- An entry of 0 means nothing; Redis does not keep one.
SELECT account, free_ms, owner, amount FROM entry WHERE amount <> 0 ORDER BY account, free_ms, owner
