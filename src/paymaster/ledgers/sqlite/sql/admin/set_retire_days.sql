UPDATE clock SET retire_days = ?
