-- Who waits behind a ticket, for status views: names is a JSON object that counts the calls by name; the first waits since since_ms.
ALTER TABLE ticket ADD COLUMN names TEXT NOT NULL DEFAULT '{}';
ALTER TABLE ticket ADD COLUMN since_ms INTEGER NOT NULL DEFAULT 0;
