UPDATE clock SET now_ms = ?, lease_ms = (SELECT min(lease_until_ms) FROM hold), line_ms = 0
