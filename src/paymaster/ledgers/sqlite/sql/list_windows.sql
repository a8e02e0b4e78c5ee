-- Accounts with their windows in short: what has left of open holds and of others, and when the first and the last of the rest leave.
SELECT account.name, account.settled, account.live, account.held, window.open_sum, window.settled_sum, window.first_ms, window.last_ms
FROM account
LEFT JOIN (
    SELECT account AS name,
        sum(CASE WHEN free_ms <= :now_ms AND is_open THEN amount ELSE 0 END) AS open_sum,
        sum(CASE WHEN free_ms <= :now_ms AND NOT is_open THEN amount ELSE 0 END) AS settled_sum,
        min(CASE WHEN free_ms > :now_ms THEN free_ms END) AS first_ms,
        max(CASE WHEN free_ms > :now_ms THEN free_ms END) AS last_ms
    FROM entry
    WHERE account >= :first AND account < :last
    GROUP BY account
) AS window ON window.name = account.name
WHERE account.name >= :first AND account.name < :last
ORDER BY account.name
