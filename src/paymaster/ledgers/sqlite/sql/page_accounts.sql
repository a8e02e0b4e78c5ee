-- A damaged row is left out: it is for the calls that need it to fail, not for those that look at accounts in passing.
SELECT name, settled, live, held
FROM account
WHERE name > ? AND typeof(name) = 'text' AND typeof(settled) = 'integer' AND typeof(live) = 'integer' AND typeof(held) = 'integer'
ORDER BY name
LIMIT ?
