SELECT amounts FROM record WHERE hold_id = ?
