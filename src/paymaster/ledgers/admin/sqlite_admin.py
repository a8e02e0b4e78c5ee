"""A ledger in a SQLite file as an operator sees it: all of it at once, its journal from the oldest record on; knows no rule of accounts."""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import orjson

from paymaster.accounting.accounts import Record
from paymaster.ledgers.admin.export_format import AccountSums, ExportHead, Item, OpeningBalance, RetiredAccount, WindowEntry
from paymaster.ledgers.admin.ledger_admin import ClockAhead, JournalPosition, LedgerDescription, LedgerIdentity, not_empty
from paymaster.ledgers.retirement import RETIRE_DAYS
from paymaster.ledgers.sqlite.file import is_busy, locked_for_long, newest_version, open_as_it_is, open_database, read_statements, to_error
from paymaster.ledgers.sqlite.store import SEQ_BITS, SqliteStore
from paymaster.ledgers.store import OpenHold

PATIENCE_MS = 10_000
# The first schema with an id and claims of clocks.
IDENTITY_VERSION = 5
# The first schema whose accounts leave.
RETIREMENT_VERSION = 6
# So many records leave the journal in one transaction: callers wait for a few milliseconds, not for all of them.
DROPPED_AT_ONCE = 500


class SqliteAdmin:
    """`LedgerAdmin` of the file at `path`, on a connection of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._sql = read_statements("admin")
        self._connection: sqlite3.Connection | None = None

    def make(self) -> bool:
        """Make the file, if there is none."""
        existed = self._path.exists()
        with self._faults_explained():
            self._open()
        return not existed

    def describe(self) -> LedgerDescription:
        """What it is and how much is in it."""
        with self._faults_explained():
            connection, version = open_as_it_is(self._path)
            with closing(connection):
                connection.execute(f"PRAGMA busy_timeout = {PATIENCE_MS}")
                counts = connection.execute(self._sql["count"]).fetchone() if version else (0, 0, 0, 0, None, None)
                retired, retire_days = 0, None
                if version >= RETIREMENT_VERSION:
                    retired, retire_days = connection.execute(self._sql["count_retired"]).fetchone()
                identity = _identity(connection, version)
                journal_mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
        clock_ms, accounts, holds, records, oldest_ms, newest_ms = counts
        files = [self._path.with_name(self._path.name + suffix) for suffix in ("", "-wal")]
        return LedgerDescription(
            kind="SQLite",
            location=str(self._path),
            id=identity.id,
            version=version,
            newest_version=newest_version(),
            size_bytes=sum(file.stat().st_size for file in files if file.exists()),
            journal_bytes=None,
            clock_ms=clock_ms,
            accounts=accounts,
            open_holds=holds,
            records=records,
            oldest_ms=oldest_ms,
            newest_ms=newest_ms,
            retired=retired,
            retire_days=retire_days,
            settings={"journal_mode": journal_mode, "synchronous": "normal"},
            clocks_ahead=identity.clocks_ahead,
        )

    def identify(self) -> LedgerIdentity:
        """Which ledger it is."""
        with self._faults_explained():
            connection, version = open_as_it_is(self._path)
            with closing(connection):
                connection.execute(f"PRAGMA busy_timeout = {PATIENCE_MS}")
                return _identity(connection, version)

    def migrate(self) -> tuple[int, int]:
        """Bring the schema up to date."""
        with self._faults_explained():
            connection, before = open_as_it_is(self._path)
            connection.close()
            self._open()
        return before, newest_version()

    def snapshot(self) -> Iterator[Item]:
        """All of it at one instant: in one transaction that only reads."""
        with self._faults_explained():
            connection = self._open()
            connection.execute("BEGIN")
            try:
                yield from self._items(connection)
            finally:
                if self._connection is connection:  # unless it was closed before the reading ended
                    connection.execute("ROLLBACK")

    def _items(self, connection: sqlite3.Connection) -> Iterator[Item]:
        store = SqliteStore(connection)
        _, retire_days = connection.execute(self._sql["count_retired"]).fetchone()
        yield ExportHead(store.newest_ms()[0], retire_days=retire_days)
        yield from map(AccountSums._make, connection.execute(self._sql["read_accounts"]))
        yield from map(RetiredAccount._make, connection.execute(self._sql["read_all_retired"]))
        yield from map(OpeningBalance._make, connection.execute(self._sql["read_opening_balances"]))
        yield from store.list_holds()
        yield from map(WindowEntry._make, connection.execute(self._sql["read_entries"]))
        yield from store.read_records(-1)

    def load(self, items: Iterable[Item]) -> None:
        """Fill an empty ledger, in one transaction."""
        with self._faults_explained():
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                _, accounts, holds, records, *_ = connection.execute(self._sql["count"]).fetchone()
                if accounts or holds or records or self.opening_balances() or self.retired():
                    raise not_empty(str(self._path), accounts, records)
                connection.execute(self._sql["drop_all_tickets"])
                self._fill(connection, items)
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _fill(self, connection: sqlite3.Connection, items: Iterable[Item]) -> None:
        store, clock_ms, retire_days = SqliteStore(connection), 0, RETIRE_DAYS
        for item in items:
            match item:
                case ExportHead():
                    clock_ms, retire_days = item.clock_ms, item.retire_days
                case AccountSums():
                    connection.execute(self._sql["put_account"], item)
                case RetiredAccount():
                    connection.execute(self._sql["put_retired"], item)
                case OpeningBalance():
                    connection.execute(self._sql["put_opening_balance"], item)
                case OpenHold():
                    store.write_hold(item)
                case WindowEntry():
                    connection.execute(self._sql["insert_entry"], item._asdict())
                case Record():
                    store.write_record(item)
        connection.execute(self._sql["fill_clock"], (clock_ms, retire_days))

    def opening_balances(self) -> Mapping[str, int]:
        """What the records that are no longer in the journal had charged."""
        with self._faults_explained():
            return dict(self._open().execute(self._sql["read_opening_balances"]).fetchall())

    def retired(self) -> dict[str, int]:
        """The accounts that have left the ledger."""
        with self._faults_explained():
            return dict(self._open().execute(self._sql["read_all_retired"]).fetchall())

    def set_retire_days(self, days: int) -> None:
        """How long budgets stay after their period ended."""
        with self._faults_explained():
            self._open().execute(self._sql["set_retire_days"], (days,))

    def oldest_records(self, before_ms: int, count: int) -> list[tuple[JournalPosition, Record]]:
        """The first records of the journal."""
        with self._faults_explained():
            rows = self._open().execute(self._sql["oldest_records"], (before_ms << SEQ_BITS, count)).fetchall()
        return [
            (JournalPosition(seq >> SEQ_BITS, seq & (1 << SEQ_BITS) - 1), Record(hold_id, at_ms, bool(lost), orjson.loads(amounts), body))
            for seq, hold_id, at_ms, lost, amounts, body in rows
        ]

    def drop_records(self, until: JournalPosition) -> int:
        """Take records out of the journal, some in each transaction, each with what they charged."""
        last, dropped = until.at_ms << SEQ_BITS | until.number, 0
        while some := self._drop_some(last):
            dropped += some
            time.sleep(0)
        return dropped

    def _drop_some(self, last: int) -> int:
        with self._faults_explained():
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                rows = connection.execute(self._sql["charged_until"], (last, DROPPED_AT_ONCE)).fetchall()
                if rows:
                    sums = add_up(orjson.loads(amounts) for _, amounts in rows)
                    connection.executemany(self._sql["add_opening_balance"], sums.items())
                    connection.execute(self._sql["note_dropped"], (rows[-1][0],))
                    connection.execute(self._sql["drop_until"], (rows[-1][0],))
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        return len(rows)

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = open_database(self._path)
            self._connection.execute(f"PRAGMA busy_timeout = {PATIENCE_MS}")
        return self._connection

    @contextmanager
    def _faults_explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise (locked_for_long(self._path, PATIENCE_MS) if is_busy(error) else to_error(error, self._path)) from error


def _identity(connection: sqlite3.Connection, version: int) -> LedgerIdentity:
    if version < IDENTITY_VERSION:
        return LedgerIdentity("", 0)
    store = SqliteStore(connection)
    claims = (ClockAhead(claim.process, claim.ahead_ms, claim.at_ms) for claim in store.list_claims())
    return LedgerIdentity(store.identity(), store.newest_ms()[1], tuple(claims))


def add_up(amounts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """What records charged, by account."""
    sums: dict[str, int] = {}
    for each in amounts:
        for account, amount in each.items():
            sums[account] = sums.get(account, 0) + amount
    return sums
