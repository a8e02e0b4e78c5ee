"""A ledger in this process's memory, for tests, dry runs and a process of its own; knows no disk, and is gone with its process."""
# ruff: noqa: D102 - the methods of a store are documented in `Store`

from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncGenerator, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from operator import attrgetter
from threading import Lock

from paymaster.accounting.accounts import (
    Balance,
    Change,
    EndedHolder,
    Hold,
    Lost,
    Post,
    Queued,
    Record,
    ReserveOutcome,
    Settled,
    Settlement,
)
from paymaster.forks import renew_in_children
from paymaster.ledgers import transactions
from paymaster.ledgers.account_views import PAGE, sum_window
from paymaster.ledgers.identity import new_id
from paymaster.ledgers.retirement import RETIRE_DAYS, retire
from paymaster.ledgers.store import AccountRow, Clock, Entry, Known, OpenHold, Ticket, follow_caller
from paymaster.ledgers.transactions import Unfinished, with_lost


class MemoryLedger:
    """`Books` in memory, safe for threads. Nothing in it ever waits."""

    def __init__(self) -> None:
        self._id = new_id()
        self._store = MemoryStore()
        self._lock = Lock()
        renew_in_children(self)

    def renew(self) -> None:
        """In a forked child, whose copy is for itself: nobody holds the lock, and no open call of its parent will be settled here."""
        self._lock = Lock()
        open_ids = [hold.id for hold in self._store.list_holds()] + [ticket.hold_id for ticket in self._store.list_tickets()]
        for hold_id in open_ids:
            transactions.withdraw(self._store, hold_id)

    async def reserve(self, hold: Hold, now_ms: int, *, queue_for_ms: int = 0) -> ReserveOutcome:
        """Admit the hold whole or not at all; see `Books`."""
        lost: tuple[Lost, ...] = ()
        while True:
            with self._lock:
                outcome = transactions.reserve(self._store, hold, now_ms, queue_for_ms)
            if not isinstance(outcome, Unfinished):
                return with_lost(outcome, lost)
            lost += outcome.lost

    async def ledger_id(self, now_ms: int, *, may_go_unbooked: bool = False) -> str:
        """Its random id, which it has for as long as it exists."""
        return self._id

    async def withdraw(self, hold_id: str) -> None:
        """Give up a ticket in the queue, or an open hold of which nothing was sent."""
        with self._lock:
            transactions.withdraw(self._store, hold_id)

    async def settle(self, settlement: Settlement, now_ms: int) -> Settled:
        """Post the actual amounts and the record, once."""
        with self._lock:
            return transactions.settle(self._store, settlement, now_ms)

    async def post(self, posts: Sequence[Post], clears: Sequence[str], now_ms: int) -> tuple[Change, ...]:
        """Empty windows, then add entries that no hold carries."""
        with self._lock:
            return transactions.post(self._store, posts, clears, now_ms)

    async def sweep(self, now_ms: int) -> tuple[Lost, ...]:
        """Charge and record the holds whose lease is over."""
        lost: tuple[Lost, ...] = ()
        while True:
            with self._lock:
                some = transactions.sweep(self._store, now_ms)
            if not some:
                return lost
            lost += some

    async def balances(self, prefix: str, now_ms: int) -> dict[str, Balance]:
        """The accounts whose names start so, as a sweep would leave them."""
        with self._lock:
            return transactions.balances(self._store, prefix, now_ms)

    async def balance_pages(self, prefixes: Sequence[str], now_ms: int) -> AsyncGenerator[Mapping[str, Balance], None]:
        """The accounts whose names start so, page by page, with windows in short."""
        with self._lock:
            seen = transactions.views(self._store, now_ms)
            names = self._store.account_names(tuple(prefixes))
        for first in range(0, len(names), PAGE):
            with self._lock:
                rows = self._store.read_accounts(names[first : first + PAGE])
                page = {row.name: seen.short(row, sum_window(self._store.list_entries(row.name), seen.now_ms)) for row in rows}
            yield page

    async def balances_of(self, accounts: Sequence[str], now_ms: int) -> dict[str, Balance]:
        """These accounts, as a sweep would leave them."""
        with self._lock:
            return transactions.balances_of(self._store, accounts, now_ms)

    async def waiting(self, now_ms: int) -> tuple[Queued, ...]:
        """The queue, first come first."""
        with self._lock:
            return transactions.waiting(self._store, now_ms)

    async def ended_holders(self, now_ms: int) -> tuple[EndedHolder, ...]:
        """Nothing: the ledger ends with its process."""
        return ()

    async def records(self, *, after_ms: int = 0) -> AsyncGenerator[Record, None]:
        """The records written after that time, in order, up to the last one when the reading begins."""
        with self._lock:
            records = list(self._store.records.values())
        for record in records:
            if record.at_ms > after_ms:
                yield record

    async def retire(self, now_ms: int, *, days: int | None = None) -> int:
        """Take out the accounts that may leave now, whatever time it is to look for them; how many left. See `retirement`."""
        with self._lock:
            total, after = retire(self._store, now_ms, "", days)
            while after:
                some, after = retire(self._store, now_ms, after, days)
                total += some
        return total

    async def close(self) -> None:
        """There is nothing to release."""


class MemoryStore:
    """`Store` over dictionaries. Rows are copied out and in, so that a transaction that raises has changed no account."""

    process = ""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.retire_days = RETIRE_DAYS
        self._clock = Clock(0, None, 0)
        self._accounts: dict[str, AccountRow] = {}
        self._names: list[str] = []  # in order
        self._retired: dict[str, int] = {}
        self._entries: dict[str, _Window] = {}
        self._next_expiry_ms: int | None = None  # or a moment before it
        self._holds: dict[str, OpenHold] = {}
        self._tickets: dict[str, Ticket] = {}

    def find_known(self, hold_id: str) -> Known:
        record = self.records.get(hold_id)
        clock = replace(self._clock, next_expiry_ms=self._next_expiry_ms, retire_days=self.retire_days)
        return Known(clock, self._holds.get(hold_id), record.lost if record else None)

    def set_time(self, clock: Clock, caller_ms: int) -> None:
        follow_caller(clock, caller_ms)

    def write_clock(self, clock: Clock) -> None:
        clock.changed = False
        self._clock = clock

    def read_accounts(self, names: Sequence[str]) -> Iterable[AccountRow]:
        return [replace(self._accounts[name]) for name in names if name in self._accounts]

    def account_names(self, prefixes: tuple[str, ...]) -> Sequence[str]:
        """The names that start with one of these, in no order."""
        return [name for name in self._accounts if name.startswith(prefixes)]

    def list_accounts(self, prefix: str) -> Sequence[AccountRow]:
        return [replace(row) for name, row in sorted(self._accounts.items()) if name.startswith(prefix)]

    def write_accounts(self, rows: Sequence[AccountRow]) -> None:
        for row in rows:
            row.changed = False
            if row.name not in self._accounts:
                insort(self._names, row.name)
            self._accounts[row.name] = row

    def page_accounts(self, after: str, count: int) -> Sequence[AccountRow]:
        first = bisect_right(self._names, after)
        return [replace(self._accounts[name]) for name in self._names[first : first + count]]

    def read_retired(self, names: Sequence[str]) -> Iterable[AccountRow]:
        return [AccountRow(name, self._retired[name]) for name in names if name in self._retired]

    def retire(self, kept: Sequence[AccountRow], leaving: Sequence[str]) -> None:
        self._retired.update((row.name, row.settled) for row in kept)
        for name in leaving:
            del self._accounts[name], self._names[bisect_left(self._names, name)]

    def forget_retired(self, names: Sequence[str]) -> None:
        for name in names:
            del self._retired[name]

    def list_entries(self, account: str) -> Iterable[Entry]:
        return iter(self._entries.get(account, ()))

    def list_all_entries(self, prefix: str) -> Iterable[Entry]:
        for account in sorted(name for name in self._entries if name.startswith(prefix)):
            yield from self._entries[account]

    def find_entry(self, account: str, free_at_ms: int, owner: str) -> Entry | None:
        window = self._entries.get(account)
        return window.find(free_at_ms, owner) if window else None

    def write_entries(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            self._entries.setdefault(entry.account, _Window()).write(entry)
            if self._next_expiry_ms is None or entry.free_at_ms < self._next_expiry_ms:
                self._next_expiry_ms = entry.free_at_ms

    def take_expired(self, now_ms: int, most: int) -> Sequence[Entry]:
        expired: list[Entry] = []
        for window in self._entries.values():
            expired += window.drop_expired(now_ms, most - len(expired))
        self._next_expiry_ms = min((entry.free_at_ms for window in self._entries.values() for entry in islice(window, 1)), default=None)
        return expired

    def has_expired(self, now_ms: int) -> bool:
        return self._next_expiry_ms is not None and self._next_expiry_ms <= now_ms

    def drop_settled(self, account: str) -> None:
        if account in self._entries:
            self._entries[account].drop_settled()

    def write_hold(self, hold: OpenHold) -> None:
        self._holds[hold.id] = hold

    def drop_hold(self, hold_id: str) -> None:
        del self._holds[hold_id]

    def list_holds(self) -> Sequence[OpenHold]:
        return sorted(self._holds.values(), key=attrgetter("lease_until_ms", "id"))

    def list_expired_holds(self, now_ms: int, most: int) -> Sequence[OpenHold]:
        return [hold for hold in self.list_holds() if hold.lease_until_ms <= now_ms][:most]

    def list_holds_of(self, processes: Collection[str], most: int) -> Sequence[OpenHold]:
        return [hold for hold in self.list_holds() if hold.process in processes][:most]

    def next_lease_end_ms(self) -> int | None:
        return min((hold.lease_until_ms for hold in self._holds.values()), default=None)

    def find_charged(self, hold_id: str) -> Mapping[str, int]:
        return self.records[hold_id].amounts

    def write_record(self, record: Record) -> None:
        self.records.pop(record.hold_id, None)
        self.records[record.hold_id] = record

    def list_tickets(self) -> Sequence[Ticket]:
        return sorted(self._tickets.values(), key=attrgetter("turn"))

    def write_ticket(self, ticket: Ticket) -> None:
        self._tickets[ticket.hold_id] = ticket

    def drop_ticket(self, hold_id: str) -> None:
        self._tickets.pop(hold_id, None)

    def drop_tickets(self, until_ms: int) -> None:
        self._tickets = {hold_id: ticket for hold_id, ticket in self._tickets.items() if ticket.until_ms > until_ms}


class _Window:
    """An account's entries in the order in which they leave."""

    def __init__(self) -> None:
        self._order: list[tuple[int, str]] = []
        self._entries: dict[tuple[int, str], Entry] = {}

    def __iter__(self) -> Iterator[Entry]:
        return (self._entries[key] for key in self._order)

    def find(self, free_at_ms: int, owner: str) -> Entry | None:
        return self._entries.get((free_at_ms, owner))

    def write(self, entry: Entry) -> None:
        key = (entry.free_at_ms, entry.owner)
        if key not in self._entries:
            insort(self._order, key)
        self._entries[key] = entry

    def drop_expired(self, now_ms: int, most: int) -> list[Entry]:
        count = next((at for at, key in enumerate(self._order[:most]) if key[0] > now_ms), min(most, len(self._order)))
        expired = [self._entries.pop(key) for key in self._order[:count]]
        del self._order[:count]
        return expired

    def drop_settled(self) -> None:
        self._entries = {key: entry for key, entry in self._entries.items() if entry.is_open}
        self._order = sorted(self._entries)
