UPDATE clock
SET now_ms = ?, next_lease_end_ms = ?, queue_until_ms = ?, boot_id = ?, uptime_ms = ?, last_claim_at_ms = ?, confirmed_at_ms = ?,
    retire_at_ms = ?, retire_after = ?
