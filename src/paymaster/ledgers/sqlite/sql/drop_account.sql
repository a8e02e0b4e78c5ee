DELETE FROM account WHERE name = ?
