-- Who waits at a place in line, for whoever looks: names is a JSON object of how many callers by their name, since_ms since when.
ALTER TABLE ticket ADD COLUMN names TEXT NOT NULL DEFAULT '{}';
ALTER TABLE ticket ADD COLUMN since_ms INTEGER NOT NULL DEFAULT 0;
