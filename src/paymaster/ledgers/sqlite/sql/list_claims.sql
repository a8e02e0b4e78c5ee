SELECT process, ahead_ms, since_ms, at_ms FROM clock_claim
