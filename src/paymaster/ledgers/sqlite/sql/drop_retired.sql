DELETE FROM retired WHERE account = ?
