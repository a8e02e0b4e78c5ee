DELETE FROM record WHERE seq <= ?
