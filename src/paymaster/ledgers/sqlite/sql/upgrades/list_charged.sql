SELECT body, amounts FROM record
