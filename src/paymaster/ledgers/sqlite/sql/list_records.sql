SELECT hold_id, at_ms, lost, amounts, body FROM record WHERE seq >= ? ORDER BY seq
