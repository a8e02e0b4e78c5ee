-- A ledger has an id of its own, by which a copy or another ledger in its place is recognised.
CREATE TABLE identity (id TEXT NOT NULL);
INSERT INTO identity (id) VALUES (lower(hex(randomblob(16))));

-- The clock says what time it was at an uptime of the machine, and is not written for every call. boot_id is '' until a machine's clock counts.
-- The ledger can't be older than dropped_until_ms, the time of the newest record that left the journal.
ALTER TABLE clock ADD COLUMN boot_id TEXT NOT NULL DEFAULT '';
ALTER TABLE clock ADD COLUMN uptime_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE clock ADD COLUMN claimed_at_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE clock ADD COLUMN confirmed_at_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE clock ADD COLUMN dropped_until_ms INTEGER NOT NULL DEFAULT 0;

-- Processes whose clock is ahead of the ledger's: by how much, since when, and when that was last seen (the ledger's time).
CREATE TABLE clock_claim (
    process  TEXT PRIMARY KEY,
    ahead_ms INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    at_ms    INTEGER NOT NULL
) WITHOUT ROWID;

-- The process that made a hold.
ALTER TABLE hold ADD COLUMN process TEXT NOT NULL DEFAULT '';

-- Entries by the time they leave: what has left is at the beginning of the table, what comes goes to its end.
CREATE TABLE entry_by_time (
    free_ms INTEGER NOT NULL,
    account TEXT    NOT NULL,
    owner   TEXT    NOT NULL,
    amount  INTEGER NOT NULL,
    is_open INTEGER NOT NULL,
    PRIMARY KEY (free_ms, account, owner)
) WITHOUT ROWID;
INSERT INTO entry_by_time (free_ms, account, owner, amount, is_open) SELECT free_ms, account, owner, amount, is_open FROM entry;
DROP TABLE entry;
ALTER TABLE entry_by_time RENAME TO entry;

-- So an account need not say when the next of its entries leaves. An earlier version that is still connected misses the column, and is refused.
CREATE TABLE account_sums (
    name    TEXT PRIMARY KEY,
    settled INTEGER NOT NULL,
    live    INTEGER NOT NULL,
    held    INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO account_sums (name, settled, live, held) SELECT name, settled, live, held FROM account;
DROP TABLE account;
ALTER TABLE account_sums RENAME TO account;
