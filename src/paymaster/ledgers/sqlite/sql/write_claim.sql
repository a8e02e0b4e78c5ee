REPLACE INTO clock_claim (process, ahead_ms, since_ms, at_ms) VALUES (?, ?, ?, ?)
