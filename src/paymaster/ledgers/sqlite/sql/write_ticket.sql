REPLACE INTO ticket (hold_id, turn, until_ms, asks, names, since_ms) VALUES (?, ?, ?, ?, ?, ?)
