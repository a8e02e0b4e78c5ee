DELETE FROM clock_claim WHERE at_ms < ?
