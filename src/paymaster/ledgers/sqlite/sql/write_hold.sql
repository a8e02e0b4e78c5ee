INSERT INTO hold (id, at_ms, lease_until_ms, charges, lost_record, process) VALUES (?, ?, ?, ?, ?, ?)
