"""A ledger in one SQLite file that many processes and threads share; knows how they take turns, and not what a transaction does."""

import logging
import random
import sqlite3
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence, Sized
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TypeVar

from paymaster.accounting.accounts import (
    Balance,
    Change,
    EndedHolder,
    Held,
    Hold,
    Lost,
    Post,
    Queued,
    Record,
    Refused,
    ReserveOutcome,
    Settled,
    Settlement,
)
from paymaster.errors import LedgerReplaced, LedgerUnavailable
from paymaster.ledgers import transactions
from paymaster.ledgers.callers_time import balances_as_seen, queue_as_seen
from paymaster.ledgers.identity import KnownLedger, process_name
from paymaster.ledgers.retirement import retire
from paymaster.ledgers.sqlite.file import is_busy, is_empty, locked_for_long, open_database, to_error
from paymaster.ledgers.sqlite.forks import watch_forks
from paymaster.ledgers.sqlite.group_commit import GroupCommit
from paymaster.ledgers.sqlite.machine_clock import ReadsMachineTime
from paymaster.ledgers.sqlite.placement import Placement, file_id
from paymaster.ledgers.sqlite.process_locks import MOST_CLAIMED, ClaimedFile, ProcessLocks
from paymaster.ledgers.sqlite.reading import (
    AccountReading,
    Reading,
    ReadsAccounts,
    RecordReading,
    here,
    in_thread,
    read_named,
    read_short,
    read_whole,
)
from paymaster.ledgers.sqlite.store import SqliteStore

T = TypeVar("T")
R = TypeVar("R", bound=Reading)
P = TypeVar("P", bound=Sized)
_LOGGER = logging.getLogger("paymaster.ledgers")

# Waits for a locked file double up to this length; each is drawn anew, so that waiting processes don't wake at the same moment.
LONGEST_PAUSE_MS = 32

# From so many open holds on, callers of an event loop share transactions; below that the wait for neighbours costs more than it saves.
GROUPED_FROM = 4

# How often a process looks for others that ended, in passing; and at most, if what they hold may be why it was refused.
LOOK_MS, LOOK_WHEN_REFUSED_MS = 1_000, 250


class SqliteLedger:
    """`Books` in the file at `path`, which is made on first use.

    `pause` waits so many milliseconds in the way of the caller (`Runtime.sleep`). It is awaited while another process writes, for
    `patience_ms` in all; then the call raises LedgerUnavailable. SQLite itself never waits, so a lock blocks no event loop.
    A file that Paymaster can't work with raises LedgerUnusable from the first call. One that worked and can't be written any more (its
    file system is read-only now) raises LedgerUnavailable, as a full disk does. One that is not the `known` ledger (it was removed,
    replaced, or is an older copy), and one whose files were moved while it was open, raise LedgerReplaced. `machine_time` bounds how far
    the ledger follows its callers' clocks; without it, it follows the latest of them.
    """

    def __init__(
        self,
        path: Path,
        pause: Callable[[int], Awaitable[None]],
        *,
        patience_ms: int = 10_000,
        jitter: Callable[[], float] = random.random,
        grouped: bool = False,
        known: KnownLedger | None = None,
        machine_time: ReadsMachineTime | None = None,
        process_name: Callable[[], str] = process_name,
    ) -> None:
        self.path = path
        self._pause, self._patience_ms, self._jitter = pause, patience_ms, jitter
        self._lock = Lock()
        self._store: SqliteStore | None = None
        self._locks: ProcessLocks | None = None
        self._looks_at_ns = 0  # what each call compares: the locks know the rest
        self._worked = False
        self.known = known or KnownLedger()
        self._machine_time = machine_time
        self._placement: Placement | None = None
        self._acceptance = ""
        self._logged_ahead = False
        self._process_name = process_name
        self._groups = GroupCommit(self._attempt, self._transact) if grouped else None
        self._off_the_loop = in_thread if grouped else here
        self._open_holds: dict[str, int] = {}
        watch_forks(self)

    @property
    def location(self) -> str:
        """Where it is, for a message."""
        return str(self.path)

    async def reserve(self, hold: Hold, now_ms: int, *, queue_for_ms: int = 0) -> ReserveOutcome:
        """Admit the hold whole or not at all; see `Books`."""
        claimed = self._claim_ended(LOOK_MS) if time.monotonic_ns() >= self._looks_at_ns else ()
        lost = await self._charge_ended(claimed, now_ms) if claimed else ()
        answer = await self._ask(hold, now_ms, queue_for_ms)
        if isinstance(answer, Refused) and (claimed := self._claim_ended(LOOK_WHEN_REFUSED_MS)):
            with suppress(LedgerUnavailable):  # the refusal stands
                ended = await self._charge_ended(claimed, now_ms)
                answer, lost = replace(answer, lost=()), lost + answer.lost + ended
                answer = await self._ask(hold, now_ms, queue_for_ms)
        answer = transactions.with_lost(answer, lost)
        if isinstance(answer, Held):
            self._forget_expired(now_ms)
            self._open_holds[hold.id] = now_ms + hold.lease_ms
        return answer

    async def _ask(self, hold: Hold, now_ms: int, queue_for_ms: int) -> ReserveOutcome:
        lost: tuple[Lost, ...] = ()
        while True:
            found = await self._write(lambda store: transactions.reserve(store, hold, now_ms, queue_for_ms), may_be_dropped=True)
            if not isinstance(found, transactions.Unfinished):
                return transactions.with_lost(found, lost)
            lost += found.lost
            await self._pause(0)  # a loop goes on between two steps

    async def ledger_id(self, now_ms: int, *, may_go_unbooked: bool = False) -> str:
        """The id of the file, which is made if there is none."""
        known = self.known.id()
        return await self._transact(SqliteStore.identity, begin="BEGIN") if known is None else known

    async def withdraw(self, hold_id: str) -> None:
        """Give up a ticket in the queue, or an open hold of which nothing was sent."""
        self._open_holds.pop(hold_id, None)
        await self._write(lambda store: transactions.withdraw(store, hold_id))

    async def settle(self, settlement: Settlement, now_ms: int) -> Settled:
        """Post the actual amounts and the record, once."""
        claimed = self._claim_ended(LOOK_MS) if time.monotonic_ns() >= self._looks_at_ns else ()
        try:
            lost = await self._charge_ended(claimed, now_ms) if claimed else ()
            settled = await self._write(lambda store: transactions.settle(store, settlement, now_ms))
        finally:
            self._open_holds.pop(settlement.hold.id, None)
        if not settled.again:
            self.known.note_record(settled.at_ms)
        return replace(settled, lost=lost + settled.lost) if lost else settled

    async def post(self, posts: Sequence[Post], clears: Sequence[str], now_ms: int) -> tuple[Change, ...]:
        """Empty windows, then add entries that no hold carries."""
        return await self._write(lambda store: transactions.post(store, posts, clears, now_ms))

    async def sweep(self, now_ms: int) -> tuple[Lost, ...]:
        """Charge and record the holds whose lease is over, and those of processes that ended."""
        lost: tuple[Lost, ...] = ()
        while True:
            claimed = self._claim_ended(0)
            lost += await self._charge_ended(claimed, now_ms)
            if len(claimed) < MOST_CLAIMED:
                return lost

    async def balances(self, prefix: str, now_ms: int) -> dict[str, Balance]:
        """The accounts whose names start so, as a sweep would leave them; all at one instant."""
        return await self._collect(partial(read_whole, (prefix,)), now_ms)

    def balance_pages(self, prefixes: Sequence[str], now_ms: int) -> AsyncGenerator[Mapping[str, Balance], None]:
        """The same page by page, with windows in short; all pages are of one instant."""
        return self._accounts(partial(read_short, tuple(prefixes)), now_ms)

    async def balances_of(self, accounts: Sequence[str], now_ms: int) -> dict[str, Balance]:
        """These accounts, as a sweep would leave them."""
        return await self._collect(partial(read_named, tuple(accounts)), now_ms)

    async def _collect(self, read: ReadsAccounts, now_ms: int) -> dict[str, Balance]:
        return {account: balance async for page in self._accounts(read, now_ms) for account, balance in page.items()}

    async def _accounts(self, read: ReadsAccounts, now_ms: int) -> AsyncGenerator[Mapping[str, Balance], None]:
        reading = await self._begin_reading(lambda: AccountReading(self.path, self._machine_time, now_ms, read))
        at_ms = reading.at_ms if self._machine_time else now_ms
        async with aclosing(self._pages(reading, reading.next_page)) as pages:
            async for page in pages:
                yield balances_as_seen(page, at_ms, now_ms)

    async def waiting(self, now_ms: int) -> tuple[Queued, ...]:
        """The queue, first come first."""
        at_ms, queue = await self._transact(
            lambda store: (transactions.time(store, now_ms), transactions.waiting(store, now_ms)), begin="BEGIN"
        )
        return queue_as_seen(queue, at_ms if self._machine_time else now_ms, now_ms)

    async def retire(self, now_ms: int, *, days: int | None = None) -> int:
        """Take out the accounts that may leave now, a page in each transaction; how many left. See `retirement`."""
        total, after = 0, None
        while after != "":
            some, after = await self._transact(partial(retire, now_ms=now_ms, after=after or "", retire_days=days))
            total += some
        return total

    async def ended_holders(self, now_ms: int) -> tuple[EndedHolder, ...]:
        """What processes that ended still hold, until the next call charges it."""
        with self._lock:
            names = self._process_locks().list_ended()
        if not names:
            return ()
        return await self._transact(lambda store: transactions.ended_holders(store, names, now_ms), begin="BEGIN")

    async def records(self, *, after_ms: int = 0) -> AsyncGenerator[Record, None]:
        """The records written after that time, in order, up to the last one when the reading begins; other callers write on meanwhile."""
        reading = await self._begin_reading(lambda: RecordReading(self.path, after_ms))
        async with aclosing(self._pages(reading, reading.next_page)) as pages:
            async for page in pages:
                for record in page:
                    yield record

    async def _begin_reading(self, make: Callable[[], R]) -> R:
        """A reading of the ledger that was opened. Raises as every call does; once it is made, it never finds the file locked."""
        return await self._transact(lambda _store: make(), begin="BEGIN")

    async def _pages(self, reading: Reading, next_page: Callable[[], P]) -> AsyncGenerator[P, None]:
        """The pages of a reading up to the first empty one; on an event loop each is read in a thread."""
        try:
            while page := await self._off_the_loop(next_page):
                yield page
        except sqlite3.Error as error:
            raise to_error(error, self.path) from error
        finally:
            reading.close()

    async def close(self) -> None:
        """Close the file. Open holds are left to their lease; another call opens it again."""
        with self._lock:
            self._process_locks().give_up(holds_something=bool(self._open_holds))  # a fork since the last call has let go of them
            self._disconnect()

    async def _charge_ended(self, claimed: Sequence[ClaimedFile], now_ms: int) -> tuple[Lost, ...]:
        """Charge what these ended processes hold, and all holds whose lease is over; drop the tickets of the processes."""
        ended = tuple([file.ended for file in claimed])
        lost: tuple[Lost, ...] = ()
        try:
            while some := await self._transact(lambda store: transactions.sweep(store, now_ms, ended)):
                lost += some
                await self._pause(0)
        except BaseException:
            for file in claimed:
                file.release()
            raise
        for file in claimed:
            file.remove()
        return lost

    def _claim_ended(self, every_ms: int) -> list[ClaimedFile]:
        """The files of ended processes, claimed by this one; none if it is not time to look for them."""
        if self._locks is not None and not self._locks.is_time_to_look(every_ms):  # a file that is opened is looked at first
            return []
        with self._lock:
            locks = self._process_locks()
            claimed = locks.claim_ended()
            self._looks_at_ns = locks.looks_at_ns(LOOK_MS)
            return claimed

    def _process_locks(self) -> ProcessLocks:
        """The locks under the name that this process has, which a forked child has another of."""
        if self._locks is None:
            self._locks = ProcessLocks(self.path, self._process_name(), self)
        return self._locks

    async def _write(self, work: Callable[[SqliteStore], T], *, may_be_dropped: bool = False) -> T:
        """Do the work in a transaction of its own, or, if an event loop has many open holds, in one with its neighbours."""
        if self._groups is None or len(self._open_holds) < GROUPED_FROM:
            return await self._transact(work)
        return await self._groups.join(work, may_be_dropped=may_be_dropped)

    async def _transact(self, work: Callable[[SqliteStore], T], *, begin: str = "BEGIN IMMEDIATE") -> T:
        """Do the work in one transaction; while the file is locked, wait for a turn."""
        waited_ms = 0
        longest_ms = 1
        while True:
            try:
                return self._attempt(work, begin)
            except sqlite3.Error as error:
                if not is_busy(error):
                    raise to_error(error, self.path, worked=self._worked) from error
                if waited_ms >= self._patience_ms:
                    raise locked_for_long(self.path, waited_ms) from error
            pause_ms = 1 + int(self._jitter() * longest_ms)
            await self._pause(pause_ms)
            waited_ms += pause_ms
            longest_ms = min(2 * longest_ms, LONGEST_PAUSE_MS)

    def _attempt(self, work: Callable[[SqliteStore], T], begin: str = "BEGIN IMMEDIATE") -> T:
        """Do the work now, whole or not at all, or raise that the file is locked."""
        with self._lock:
            store = self._current_store()
            connection = store.connection
            connection.execute(begin)
            try:
                self._check_content(store)
                result = work(store)
                connection.execute("COMMIT")
            except BaseException:
                # SQLite has already rolled back after some faults, a full disk among them.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            self._worked = True
            return result

    def _current_store(self) -> SqliteStore:
        """The store of the ledger that was opened, unless a person has accepted another one since its files were moved."""
        if self._store is None or self._placement is None:
            return self._connect()
        try:
            self._placement.check()
        except LedgerReplaced:
            self.known.refresh()
            if self.known.acceptance == self._acceptance:
                raise
            self._disconnect()
            return self._connect()
        return self._store

    def _connect(self) -> SqliteStore:
        if self.known.id() is not None and is_empty(self.path):
            self.known.refresh()
            self.known.check(None, 0, label=str(self.path))
        before = file_id(self.path)
        connection = open_database(self.path)
        try:
            placement = Placement(self.path, before)
            store = SqliteStore(connection, self._process_name(), self._machine_time, self._note_ahead, self._process_locks())
            self._check_identity(store)
        except BaseException:
            connection.close()
            raise
        self._acceptance = self.known.acceptance
        self._store, self._placement = store, placement
        return self._store

    def _check_content(self, store: SqliteStore) -> None:
        """Raises LedgerReplaced if the file was overwritten in place by another ledger or an older copy. `store` is in a transaction."""
        if self._placement is not None and self._placement.may_be_overwritten():
            self._check_identity(store)
            self._placement.note_content()

    def _check_identity(self, store: SqliteStore) -> None:
        """Raises LedgerReplaced for another ledger than the known one, also if a person has accepted no other since it was read."""
        for is_last in (False, True):
            seen_ms = self.known.newest_seen_ms()
            try:
                self.known.check(store.identity(), store.newest_ms()[1], label=str(self.path), seen_ms=seen_ms)
            except LedgerReplaced:
                if is_last:
                    raise
                self.known.refresh()
            else:
                return

    def _note_ahead(self, ahead_ms: int) -> None:
        if not self._logged_ahead:
            self._logged_ahead = True
            msg = "the clock of this process is %.1f s ahead of the time of the ledger %s, which does not follow it"
            _LOGGER.warning(msg, ahead_ms / 1000, self.path)

    def _forget_expired(self, now_ms: int) -> None:
        """Forget the first holds whose lease is over. Not every hold ends here: another process may settle it from a spool."""
        while self._open_holds:
            hold_id, lease_until_ms = next(iter(self._open_holds.items()))
            if lease_until_ms > now_ms:
                return
            del self._open_holds[hold_id]

    def before_fork(self) -> None:
        """See `Forked`."""
        self._lock.acquire()
        self._disconnect()

    def after_fork(self, *, in_child: bool) -> None:
        """See `Forked`. The open holds are the parent's."""
        if in_child:
            self._open_holds.clear()
        self._lock.release()

    def _disconnect(self) -> None:
        if self._store is not None:
            self._store.connection.close()
            self._store = self._placement = None
        self._locks, self._looks_at_ns = None, 0
