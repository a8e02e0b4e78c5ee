-- Budgets whose period ended leave the accounts; what was settled on them is kept here. No name is in both tables.
CREATE TABLE retired (
    account TEXT PRIMARY KEY,
    settled INTEGER NOT NULL
) WITHOUT ROWID;

-- When accounts that may leave are looked for next (0: never yet), behind which name, and how many days after its period a budget leaves.
ALTER TABLE clock ADD COLUMN retire_at_ms INTEGER NOT NULL DEFAULT 0;
ALTER TABLE clock ADD COLUMN retire_after TEXT NOT NULL DEFAULT '';
ALTER TABLE clock ADD COLUMN retire_days INTEGER NOT NULL DEFAULT 35;

-- An earlier version that is still connected would not find a sum in its table, and grant the budget again: it misses the column, and is
-- refused.
ALTER TABLE clock RENAME COLUMN claimed_at_ms TO last_claim_at_ms;
