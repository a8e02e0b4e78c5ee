"""A ledger in one SQLite file that many processes share; knows SQL, and neither models nor prices."""
