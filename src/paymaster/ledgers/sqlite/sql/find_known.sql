-- The hold's id twice.
SELECT clock.now_ms, clock.next_lease_end_ms, clock.queue_until_ms, hold.at_ms, hold.lease_until_ms, hold.charges, hold.lost_record, record.lost
FROM clock
LEFT JOIN hold ON hold.id = ?
LEFT JOIN record ON record.hold_id = ?
