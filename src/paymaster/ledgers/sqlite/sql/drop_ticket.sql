DELETE FROM ticket WHERE hold_id = ?
