-- The latest time that the ledger itself shows, with that of the records alone.
SELECT max(record_ms, clock_ms, hold_ms), record_ms
FROM (
    SELECT max(clock.dropped_until_ms, coalesce((SELECT at_ms FROM record ORDER BY seq DESC LIMIT 1), 0)) AS record_ms,
        clock.now_ms AS clock_ms,
        coalesce((SELECT max(at_ms) FROM hold), 0) AS hold_ms
    FROM clock
)
