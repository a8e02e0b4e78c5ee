-- The hold's id twice.
SELECT clock.now_ms, clock.next_lease_end_ms, clock.queue_until_ms, (SELECT min(free_ms) FROM entry),
    clock.uptime_ms, clock.last_claim_at_ms, clock.confirmed_at_ms, clock.retire_at_ms, clock.retire_days, clock.retire_after, clock.boot_id,
    record.lost,
    hold.at_ms, hold.lease_until_ms, hold.charges, hold.lost_record, hold.process
FROM clock
LEFT JOIN hold ON hold.id = ?
LEFT JOIN record ON record.hold_id = ?
