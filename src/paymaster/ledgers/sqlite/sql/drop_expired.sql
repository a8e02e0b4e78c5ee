-- The last entry that was listed.
DELETE FROM entry WHERE (free_ms, account, owner) <= (?, ?, ?)
