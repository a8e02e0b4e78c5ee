SELECT seq, amounts FROM record WHERE seq <= ? ORDER BY seq LIMIT ?
