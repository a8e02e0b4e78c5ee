-- What records that are no longer in the journal had charged, by account: balances stay what records and openings add up to.
CREATE TABLE opening (
    account TEXT PRIMARY KEY,
    amount  INTEGER NOT NULL
) WITHOUT ROWID;
