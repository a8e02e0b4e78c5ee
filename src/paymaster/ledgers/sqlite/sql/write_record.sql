-- The first value is at_ms shifted left by 20 bits. The record of a lost hold is replaced when the hold is settled after all.
REPLACE INTO record (seq, hold_id, at_ms, lost, amounts, body)
VALUES (max(?, coalesce((SELECT max(seq) FROM record), 0) + 1), ?, ?, ?, ?, ?)
