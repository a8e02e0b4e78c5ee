-- A lease that is no whole number is listed as well, so that it is noticed.
SELECT id, at_ms, lease_until_ms, charges, lost_record, process
FROM hold
WHERE lease_until_ms <= ? OR typeof(lease_until_ms) <> 'integer'
ORDER BY lease_until_ms, id
LIMIT ?
