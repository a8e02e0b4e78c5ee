-- The circuit breaker gets accounts of its own (routing/breaker.py). Before, an open circuit was an entry of 1,000,000 on pause/M, and a
-- half-open one an entry of its cap - 1 on slots/M, which ended later; entries without an owner stand for no hold.
INSERT OR IGNORE INTO entry (account, free_ms, owner, amount, is_open)
    SELECT 'probe/' || substr(account, 7), free_ms, '', 1, 0 FROM entry WHERE account GLOB 'pause/*' AND owner = '' AND amount >= 1000000;
INSERT OR IGNORE INTO entry (account, free_ms, owner, amount, is_open)
    SELECT 'breaker/' || substr(account, 7), free_ms, '', 1, 0 FROM entry WHERE account GLOB 'pause/*' AND owner = '' AND amount >= 1000000;
INSERT OR IGNORE INTO entry (account, free_ms, owner, amount, is_open)
    SELECT 'breaker/' || substr(account, 7), free_ms, '', 1, 0 FROM entry WHERE account GLOB 'slots/*' AND owner = '';

UPDATE account SET live = live - (SELECT coalesce(sum(amount / 1000000 * 1000000), 0) FROM entry WHERE entry.account = name AND owner = '')
    WHERE name GLOB 'pause/*';
DELETE FROM entry WHERE account GLOB 'pause/*' AND owner = '' AND amount >= 1000000 AND amount % 1000000 = 0;
UPDATE entry SET amount = amount % 1000000 WHERE account GLOB 'pause/*' AND owner = '' AND amount >= 1000000;
UPDATE account SET live = live - (SELECT coalesce(sum(amount), 0) FROM entry WHERE entry.account = name AND owner = '')
    WHERE name GLOB 'slots/*';
DELETE FROM entry WHERE account GLOB 'slots/*' AND owner = '';

INSERT INTO account (name, settled, live, held, free_ms)
    SELECT account, 0, sum(amount), 0, min(free_ms) FROM entry WHERE account GLOB 'probe/*' OR account GLOB 'breaker/*' GROUP BY account;

-- "Too many at once" of the last minute is counted under a plain name.
UPDATE entry SET account = 'overloads-minute/' || substr(account, 8) WHERE account GLOB 'unrest/*';
UPDATE account SET name = 'overloads-minute/' || substr(name, 8) WHERE name GLOB 'unrest/*';

UPDATE account SET free_ms = (SELECT min(free_ms) FROM entry WHERE entry.account = name) WHERE name GLOB 'pause/*' OR name GLOB 'slots/*';

-- Plain names; and a process of an earlier version that is still connected is refused by them: it would go on posting as before.
ALTER TABLE clock RENAME COLUMN lease_ms TO next_lease_end_ms;
ALTER TABLE clock RENAME COLUMN line_ms TO queue_until_ms;
