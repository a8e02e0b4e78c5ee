SELECT now_ms FROM clock
