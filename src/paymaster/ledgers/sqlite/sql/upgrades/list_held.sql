SELECT lost_record, charges FROM hold
