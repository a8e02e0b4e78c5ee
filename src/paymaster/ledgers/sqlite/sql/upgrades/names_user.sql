SELECT EXISTS (SELECT 1 FROM record WHERE body LIKE '%"user":%') OR EXISTS (SELECT 1 FROM hold WHERE lost_record LIKE '%"user":%')
