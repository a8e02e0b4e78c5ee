-- The first value is a time shifted left by 20 bits.
SELECT seq, hold_id, at_ms, lost, amounts, body FROM record WHERE seq < ? ORDER BY seq LIMIT ?
