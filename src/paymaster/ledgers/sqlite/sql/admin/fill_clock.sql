UPDATE clock SET now_ms = ?, retire_days = ?, next_lease_end_ms = (SELECT min(lease_until_ms) FROM hold), queue_until_ms = 0
