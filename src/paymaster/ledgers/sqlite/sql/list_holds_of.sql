SELECT id, at_ms, lease_until_ms, charges, lost_record, process
FROM hold
WHERE process IN (SELECT value FROM json_each(?))
ORDER BY lease_until_ms, id
LIMIT ?
