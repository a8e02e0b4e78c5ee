"""Readings of a ledger's file, each on a connection and in a read transaction of its own; knows rows and pages, and no rule of admission.

A reading sees the file as it was when it began. It holds up no writer, and no writer holds it up.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from operator import attrgetter
from pathlib import Path
from threading import Lock
from typing import TypeAlias, TypeVar

from paymaster.accounting.accounts import Balance, Record
from paymaster.ledgers import transactions
from paymaster.ledgers.account_views import PAGE, AccountViews, distinct_prefixes
from paymaster.ledgers.sqlite.file import connect
from paymaster.ledgers.sqlite.machine_clock import ReadsMachineTime
from paymaster.ledgers.sqlite.store import SqliteStore
from paymaster.ledgers.store import Entry
from paymaster.ledgers.unit_of_work import ACCOUNTS_AT_ONCE

T = TypeVar("T")
ReadsAccounts: TypeAlias = Callable[[SqliteStore, AccountViews], Iterator[tuple[str, Balance]]]
# So many records are read at once, which takes less than a millisecond.
RECORDS = 200


class Reading:
    """A read transaction. `next_page` may run in a thread; a reading that is closed meanwhile is closed when the page is read.

    The first statement takes the snapshot, and is the only step that can find the file locked: a subclass reads something when it is made.
    """

    def __init__(self, path: Path, machine_time: ReadsMachineTime | None = None) -> None:
        self._lock = Lock()
        self._is_over = False
        self._connection = connect(path)
        self.store = SqliteStore(self._connection, machine_time=machine_time)
        self._connection.execute("BEGIN")

    def step(self, work: Callable[[], T]) -> T:
        """Do a part of the reading, which nothing else may close meanwhile."""
        with self._lock:
            try:
                return work()
            finally:
                if self._is_over:
                    self._connection.close()

    def close(self) -> None:
        """End it. What is still read in a thread ends it then."""
        self._is_over = True
        if self._lock.acquire(blocking=False):
            try:
                self._connection.close()
            finally:
                self._lock.release()


class AccountReading(Reading):
    """Accounts as a sweep would leave them, those that `read` finds. `at_ms` is the ledger's time for a caller with the time `now_ms`."""

    def __init__(self, path: Path, machine_time: ReadsMachineTime | None, now_ms: int, read: ReadsAccounts) -> None:
        super().__init__(path, machine_time)
        try:
            self.at_ms = transactions.time(self.store, now_ms)
        except BaseException:
            self._connection.close()
            raise
        self._balances = self._read(read, now_ms)

    def next_page(self) -> Mapping[str, Balance]:
        """The next accounts; none at the end."""
        return self.step(lambda: dict(islice(self._balances, PAGE)))

    def _read(self, read: ReadsAccounts, now_ms: int) -> Iterator[tuple[str, Balance]]:
        yield from read(self.store, transactions.views(self.store, now_ms))


def read_whole(prefixes: Iterable[str], store: SqliteStore, seen: AccountViews) -> Iterator[tuple[str, Balance]]:
    """The accounts whose names start with one of the prefixes, by name, with all that leaves their windows."""
    for prefix in distinct_prefixes(prefixes):
        entries = _Grouped(store.list_all_entries(prefix))
        for row in store.read_all_accounts(prefix):
            yield row.name, seen.whole(row, entries.take(row.name))


def read_short(prefixes: Iterable[str], store: SqliteStore, seen: AccountViews) -> Iterator[tuple[str, Balance]]:
    """The same, with windows in short."""
    for prefix in distinct_prefixes(prefixes):
        for row, window in store.list_windows(prefix, seen.now_ms):
            yield row.name, seen.short(row, window)


def read_named(accounts: Iterable[str], store: SqliteStore, seen: AccountViews) -> Iterator[tuple[str, Balance]]:
    """These accounts, as whole, also those that have left the ledger."""
    ordered = sorted(set(accounts))
    for first in range(0, len(ordered), ACCOUNTS_AT_ONCE):
        names = ordered[first : first + ACCOUNTS_AT_ONCE]
        entries = _Grouped(store.list_entries_of(names))
        for row in sorted((*store.read_accounts(names), *store.read_retired(names)), key=attrgetter("name")):
            yield row.name, seen.whole(row, entries.take(row.name))


class RecordReading(Reading):
    """The records written after a time, up to the last one when the reading began."""

    def __init__(self, path: Path, after_ms: int) -> None:
        super().__init__(path)
        try:
            self._records = iter(self.store.read_records(after_ms))
            self._first: list[Record] = list(islice(self._records, 1))
        except BaseException:
            self._connection.close()
            raise

    def next_page(self) -> Sequence[Record]:
        """The next records in order; none at the end."""
        return self.step(self._read)

    def _read(self) -> Sequence[Record]:
        first, self._first = self._first, []
        return [*first, *islice(self._records, RECORDS)]


class _Grouped:
    """Entries by account, taken in the order of the names."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = iter(entries)
        self._next = next(self._entries, None)

    def take(self, account: str) -> Sequence[Entry]:
        """The entries of this account; those of accounts before it are dropped."""
        found: list[Entry] = []
        while self._next is not None and self._next.account <= account:
            if self._next.account == account:
                found.append(self._next)
            self._next = next(self._entries, None)
        return found


async def in_thread(work: Callable[[], T]) -> T:
    """Do the work in a thread if a loop is running here, so that it does not stand still."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    return await asyncio.to_thread(work)


async def here(work: Callable[[], T]) -> T:
    """Do the work at once: the caller is a thread."""
    return work()
