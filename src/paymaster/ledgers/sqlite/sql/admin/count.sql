SELECT max(clock.now_ms, coalesce((SELECT at_ms FROM record ORDER BY seq DESC LIMIT 1), 0), coalesce((SELECT max(at_ms) FROM hold), 0)),
    (SELECT count(*) FROM account),
    (SELECT count(*) FROM hold),
    (SELECT count(*) FROM record),
    (SELECT at_ms FROM record ORDER BY seq LIMIT 1),
    (SELECT at_ms FROM record ORDER BY seq DESC LIMIT 1)
FROM clock
