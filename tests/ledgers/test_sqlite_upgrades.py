"""A ledger's file of an earlier schema is brought up to date whole or not at all, and records are read only if that changes anything."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import orjson
import pytest

from paymaster.accounting.records import AttemptRecord
from paymaster.ledgers.sqlite import file, upgrades
from paymaster.ledgers.sqlite.file import APPLICATION_ID, open_database


def body(user: str | None, run: str = "r") -> str:
    return AttemptRecord(
        call_id="c",
        attempt=1,
        at_ms=1,
        model="m",
        provider="p",
        model_id="m",
        outcome="answered",
        billed="exact",
        cost_nanousd=1,
        held_nanousd=1,
        cost_source="registry",
        run=run,
        user=user,
    ).to_json()


@pytest.fixture
def make(tmp_path):
    """Makes a file of schema 4: accounts with what they settled and hold, records with what they charged, holds with their charges."""

    def make_it(accounts, records=(), holds=()):
        path = tmp_path / "old.sqlite3"
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            for version, script in file._migrations():
                if version <= 4:
                    database.executescript(script)
            database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            database.execute("PRAGMA user_version = 4")
            rows = [(name, settled, held) for name, (settled, held) in accounts.items()]
            database.executemany("INSERT INTO account VALUES (?, ?, 0, ?, NULL)", rows)
            rows = [(number, f"r{number}", text, amounts) for number, (text, amounts) in enumerate(records, start=1)]
            database.executemany("INSERT INTO record (seq, hold_id, at_ms, lost, body, amounts) VALUES (?, ?, 1, 0, ?, ?)", rows)
            rows = [(f"h{number}", orjson.dumps(charges), text) for number, (text, charges) in enumerate(holds)]
            database.executemany("INSERT INTO hold VALUES (?, 1, 2, ?, ?)", rows)
        return path

    return make_it


def opened(path):
    with closing(open_database(path)) as database:
        accounts = {name: (settled, held) for name, settled, held in database.execute("SELECT name, settled, held FROM account")}
        return (
            accounts,
            dict(database.execute("SELECT account, amount FROM opening")),
            database.execute("PRAGMA user_version").fetchone()[0],
        )


OLD = {"usd": (9, 4), "usd/run/r": (9, 4), "requests/m": (3, 0)}
RECORDS = [(body("ann"), '{"usd/run/r": 2, "usd": 2, "requests/m": 1}'), (body("ben"), '{"usd/run/r": 7, "usd": 7}')]
HOLDS = [(body("ann"), [["usd/run/r", 4, 20, None], ["usd", 4, None, None], ["slots/m", 1, 1, 0]])]


def test_each_user_gets_what_they_spent_and_hold(make):
    added = {"usd/~ann/run/r": 6, "usd/~ben/run/r": 7}
    assert opened(make(OLD, RECORDS, HOLDS)) == (OLD | {name: (amount, 0) for name, amount in added.items()}, added, 6)


def test_what_cant_be_read_counts_for_every_user(make):
    records = [(body("ann"), "{"), (body("ben"), '{"usd/run/r": "7"}'), ('{"correction": "adjust"}', '{"usd/run/r": 1}'), RECORDS[0]]
    found, openings, _ = opened(make({"usd/run/r": (10, 0), "usd/user/ben": (0, 0)}, records))
    assert openings == {"usd/~ann/run/r": 10, "usd/~ben/run/r": 8}
    assert found["usd/run/r"] == (10, 0)


def test_a_balance_that_was_there_is_added_to(make):
    records = [(body(None, "r/key/k"), '{"usd/run/r/key/k": 4}')]
    found, openings, _ = opened(make({"usd/run/r/key/k": (4, 0), "usd/run/r%2Fkey/k": (3, 0)}, records))
    assert found == {"usd/run/r/key/k": (4, 0), "usd/run/r%2Fkey/k": (7, 0)}
    assert openings == {"usd/run/r%2Fkey/k": 4}


@pytest.mark.parametrize(
    ("accounts", "records"),
    [
        ({"usd": (5, 0), "requests/m": (1, 0), "usd/user/ann": (5, 0)}, [(body("ann"), '{"usd": 5}')]),
        ({"usd/run/r": (5, 0)}, [(body(None), '{"usd/run/r": 5}')]),
        ({}, []),
    ],
    ids=["no runs", "no users", "nothing"],
)
def test_records_are_not_read_if_no_account_can_be_split(make, monkeypatch, accounts, records):
    monkeypatch.setattr(upgrades, "_charges", None)
    assert opened(make(accounts, records)) == (accounts, {}, 6)


def test_a_migration_that_is_cut_off_leaves_the_file_as_it_was(make, monkeypatch):
    path = make(OLD, RECORDS, HOLDS)

    def stop(connection, sql):
        upgrades.split_accounts(connection, sql)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(file, "UPGRADES", {5: stop})
        with pytest.raises(KeyboardInterrupt):
            open_database(path)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (4,)
        assert {name: (settled, held) for name, settled, _, held, _ in database.execute("SELECT * FROM account")} == OLD
    assert set(opened(path)[1]) == {"usd/~ann/run/r", "usd/~ben/run/r"}
