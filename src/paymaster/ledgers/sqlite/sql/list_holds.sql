SELECT id, at_ms, lease_until_ms, charges, lost_record, process FROM hold ORDER BY lease_until_ms, id
