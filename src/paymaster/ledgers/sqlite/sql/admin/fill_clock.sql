UPDATE clock SET now_ms = ?, next_lease_end_ms = (SELECT min(lease_until_ms) FROM hold), queue_until_ms = 0
