UPDATE clock SET now_ms = ?, next_lease_end_ms = ?, queue_until_ms = ?
