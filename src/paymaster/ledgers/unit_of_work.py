"""What one transaction works on, accounts and tickets, read once and written back once; knows neither the rule nor any database."""

from collections.abc import Sequence

from paymaster.accounting.account_names import period_end_ms
from paymaster.accounting.accounts import Refused, Waiters
from paymaster.ledgers.store import AccountRow, Clock, Entry, Store, Ticket

# One transaction cleans up so much at most, which takes some milliseconds: entries that left their window, and lost holds. What is left
# counts until a later transaction takes it, so a cap is kept all the same.
EXPIRED_AT_ONCE, LOST_AT_ONCE = 500, 20
# Accounts that are read with one statement.
ACCOUNTS_AT_ONCE = 500


class UnitOfWork:
    """The accounts a transaction works on, each read once and written back once. What has left its window is taken off them first."""

    def __init__(self, store: Store, clock: Clock, now_ms: int) -> None:
        self.store = store
        self.clock = clock
        self._as_read = (clock.next_lease_end_ms, clock.queue_until_ms)
        store.set_time(clock, now_ms)
        self.now_ms = clock.now_ms
        self._rows: dict[str, AccountRow] = {}
        self._retired: set[str] = set()
        self._entries: list[Entry] = []
        self._is_swept = False

    def load(self, names: Sequence[str]) -> list[AccountRow]:
        """The rows of these accounts, in this order. One that has left the ledger takes its sum back, and returns if it is changed."""
        if not self._is_swept:
            self._is_swept = True
            self._free_expired()
        rows = self._rows
        missing = [name for name in names if name not in rows]
        if missing:
            for first in range(0, len(missing), ACCOUNTS_AT_ONCE):
                for row in self.store.read_accounts(missing[first : first + ACCOUNTS_AT_ONCE]):
                    rows[row.name] = row
            unknown = [name for name in missing if name not in rows]
            ended = [name for name in unknown if period_end_ms(name) is not None]
            for first in range(0, len(ended), ACCOUNTS_AT_ONCE):
                for row in self.store.read_retired(ended[first : first + ACCOUNTS_AT_ONCE]):
                    rows[row.name] = row
                    self._retired.add(row.name)
            for name in unknown:
                if name not in rows:
                    rows[name] = AccountRow(name)
        return [rows[name] for name in names]

    def has(self, name: str) -> bool:
        """Whether this transaction works on the account."""
        return name in self._rows

    def _free_expired(self) -> None:
        """Take what has left its window off the sums of its account."""
        if self.clock.next_expiry_ms is not None and self.clock.next_expiry_ms <= self.now_ms:
            expired = self.store.take_expired(self.now_ms, EXPIRED_AT_ONCE)
            self.load(list(dict.fromkeys(entry.account for entry in expired)))
            for entry, row in zip(expired, self.load([entry.account for entry in expired]), strict=True):
                if entry.is_open:
                    row.held -= entry.amount
                else:
                    row.live -= entry.amount
                row.changed = True

    def still_counts(self, account: str, free_at_ms: int, owner: str) -> bool:
        """Whether an open hold's entry is in its account's window: one that has left it may not have been taken off yet."""
        if free_at_ms > self.now_ms:
            return True
        next_ms = self.clock.next_expiry_ms
        return next_ms is not None and next_ms <= free_at_ms and self.store.find_entry(account, free_at_ms, owner) is not None

    @property
    def is_unfinished(self) -> bool:
        """Whether there is more to clean up than one transaction does."""
        lease_ms, expiry_ms = self.clock.next_lease_end_ms, self.clock.next_expiry_ms
        if lease_ms is not None and lease_ms <= self.now_ms:
            return True
        return expiry_ms is not None and expiry_ms <= self.now_ms and self.store.has_expired(self.now_ms)

    def enter(self, entry: Entry) -> None:
        """Put an entry into its account's window; the caller changes the sums."""
        self._entries.append(entry)
        next_ms = self.clock.next_expiry_ms  # the clock may be that of the next transaction of a group as well
        self.clock.next_expiry_ms = entry.free_at_ms if next_ms is None else min(next_ms, entry.free_at_ms)

    def flush(self) -> None:
        """Write the entries, so that they can be found."""
        if self._entries:
            self.store.write_entries(self._entries)
            self._entries = []

    def close(self) -> None:
        """Write what has changed."""
        self.flush()
        changed = [row for row in self._rows.values() if row.changed]
        if changed:
            self.store.write_accounts(changed)
            if returning := [row.name for row in changed if row.name in self._retired]:
                self.store.forget_retired(returning)
        clock = self.clock
        if clock.changed or (clock.next_lease_end_ms, clock.queue_until_ms) != self._as_read:
            self.store.write_clock(clock)


class LedgerQueue:
    """The ticket of one hold, and those before it."""

    def __init__(self, unit: UnitOfWork, hold_id: str) -> None:
        self._unit = unit
        self._tickets: Sequence[Ticket] = ()
        self._mine: Ticket | None = None
        self._asks: dict[str, int] = {}
        clock = unit.clock
        if clock.queue_until_ms > unit.now_ms:
            self._tickets = [ticket for ticket in unit.store.list_tickets() if ticket.until_ms > unit.now_ms]
            self._mine = next((ticket for ticket in self._tickets if ticket.hold_id == hold_id), None)
        elif clock.queue_until_ms:
            unit.store.drop_tickets(unit.now_ms)
            clock.queue_until_ms = 0
        for ticket in self._tickets:
            if self._mine and ticket.turn >= self._mine.turn:
                break
            for account, amount in ticket.asks.items():
                self._asks[account] = self._asks.get(account, 0) + amount

    def ahead(self, account: str) -> int:
        """What the tickets before this one ask of the account."""
        return self._asks.get(account, 0)

    def stay(self, refused: Refused, queue_for_ms: int, waiters: Waiters | None) -> None:
        """Keep the ticket after a refusal, or make one; give it up if waiting does not help.

        It keeps asking for an account even if another account refused this time: the first hold needs room on all of them at once.
        """
        store, now_ms = self._unit.store, self._unit.now_ms
        if not refused.waiting_helps:
            self.leave()
        elif queue_for_ms > 0:
            store.drop_tickets(now_ms)
            asks = dict(self._mine.asks) if self._mine else {}
            asks.update((shortfall.charge.account, shortfall.charge.amount) for shortfall in refused.shortfalls)
            last = self._tickets[-1].turn if self._tickets else 0
            turn = self._mine.turn if self._mine else last + 1
            names, waited_ms = (waiters.names, waiters.waited_ms) if waiters else ({}, 0)
            since_ms = self._mine.since_ms if self._mine else now_ms - waited_ms
            store.write_ticket(Ticket(refused.hold_id, turn, now_ms + queue_for_ms, asks, names, since_ms))
            self._unit.clock.queue_until_ms = max(self._unit.clock.queue_until_ms, now_ms + queue_for_ms)

    def leave(self) -> None:
        """Give up the ticket."""
        if self._mine:
            self._unit.store.drop_ticket(self._mine.hold_id)
