INSERT INTO entry (account, free_ms, owner, amount, is_open)
VALUES (:account, :until_ms, :owner, :amount, EXISTS (SELECT 1 FROM hold WHERE id = :owner))
