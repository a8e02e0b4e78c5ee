-- One row: the ledger's own time, which never runs backwards; a time before which no lease ends (NULL: no hold is open);
-- a time after which no ticket is valid.
CREATE TABLE clock (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    now_ms   INTEGER NOT NULL,
    lease_ms INTEGER,
    line_ms  INTEGER NOT NULL
);
INSERT INTO clock (id, now_ms, lease_ms, line_ms) VALUES (1, 0, NULL, 0);

-- Balances. Past calls are part of them, so that admitting never adds up history. free_ms: when the first entry leaves its window.
CREATE TABLE account (
    name    TEXT PRIMARY KEY,
    settled INTEGER NOT NULL,
    live    INTEGER NOT NULL,
    held    INTEGER NOT NULL,
    free_ms INTEGER
) WITHOUT ROWID;

-- What counts in a window until free_ms. owner is a hold's id, or '' for a post.
CREATE TABLE entry (
    account TEXT    NOT NULL,
    free_ms INTEGER NOT NULL,
    owner   TEXT    NOT NULL,
    amount  INTEGER NOT NULL,
    is_open INTEGER NOT NULL,
    PRIMARY KEY (account, free_ms, owner)
) WITHOUT ROWID;

-- Open holds. charges is a JSON list of [account, amount, cap, window_ms]: a hold is written and removed as a whole. Leases need no index:
-- no lease ends before clock.lease_ms, and open holds are few.
CREATE TABLE hold (
    id             TEXT PRIMARY KEY,
    at_ms          INTEGER NOT NULL,
    lease_until_ms INTEGER NOT NULL,
    charges        TEXT    NOT NULL,
    lost_record    TEXT    NOT NULL
) WITHOUT ROWID;

-- Holds that wait in the queue. asks is a JSON object of amounts by account.
CREATE TABLE ticket (
    hold_id  TEXT PRIMARY KEY,
    turn     INTEGER NOT NULL,
    until_ms INTEGER NOT NULL,
    asks     TEXT    NOT NULL
) WITHOUT ROWID;

-- The journal. seq is at_ms shifted left by 20 bits, or one more than the last: time is found without an index of its own.
CREATE TABLE record (
    seq     INTEGER PRIMARY KEY,
    hold_id TEXT    NOT NULL UNIQUE,
    at_ms   INTEGER NOT NULL,
    lost    INTEGER NOT NULL,
    amounts TEXT    NOT NULL,
    body    TEXT    NOT NULL
);
