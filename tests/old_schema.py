"""Turns a ledger's file of today into one of the first schema; knows the columns and tables that came since."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

STATEMENTS = [
    "ALTER TABLE account ADD COLUMN free_ms INTEGER",
    "ALTER TABLE hold DROP COLUMN process",
    *(
        f"ALTER TABLE clock DROP COLUMN {column}"
        for column in ("boot_id", "uptime_ms", "last_claim_at_ms", "confirmed_at_ms", "dropped_until_ms", "retire_at_ms", "retire_after")
    ),
    "ALTER TABLE clock DROP COLUMN retire_days",
    "ALTER TABLE clock RENAME COLUMN next_lease_end_ms TO lease_ms",
    "ALTER TABLE clock RENAME COLUMN queue_until_ms TO line_ms",
    "ALTER TABLE ticket DROP COLUMN names",
    "ALTER TABLE ticket DROP COLUMN since_ms",
    *(f"DROP TABLE {table}" for table in ("opening", "identity", "clock_claim", "retired")),
    "PRAGMA user_version = 1",
]


def make_first_version(path: Path) -> None:
    """Take the file back to the first schema. What only later schemas have is lost."""
    with closing(sqlite3.connect(path)) as database, database:
        for statement in STATEMENTS:
            database.execute(statement)
