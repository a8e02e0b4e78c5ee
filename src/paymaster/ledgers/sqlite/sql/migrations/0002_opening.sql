-- Opening balances: what records that are no longer in the journal had charged. Balances are always opening balances plus records.
CREATE TABLE opening (
    account TEXT PRIMARY KEY,
    amount  INTEGER NOT NULL
) WITHOUT ROWID;
