SELECT clock.now_ms,
    (SELECT count(*) FROM account),
    (SELECT count(*) FROM hold),
    (SELECT count(*) FROM record),
    (SELECT at_ms FROM record ORDER BY seq LIMIT 1),
    (SELECT at_ms FROM record ORDER BY seq DESC LIMIT 1)
FROM clock
