UPDATE clock SET now_ms = ?, lease_ms = ?, line_ms = ?
