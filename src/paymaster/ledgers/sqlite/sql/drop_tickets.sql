DELETE FROM ticket WHERE until_ms <= ?
