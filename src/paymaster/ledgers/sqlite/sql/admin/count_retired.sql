SELECT (SELECT count(*) FROM retired), retire_days FROM clock
