"""What one transaction works on, accounts and tickets, read once and written back once; knows neither the rule nor any database."""

from collections.abc import Sequence

from paymaster.accounting.accounts import Refused, Waiters
from paymaster.ledgers.store import AccountRow, Clock, Entry, Store, Ticket


class UnitOfWork:
    """The accounts a transaction works on, each read once, freed of what has left its window, and written back once."""

    def __init__(self, store: Store, clock: Clock, now_ms: int) -> None:
        self.store = store
        self.clock = clock
        self.now_ms = max(now_ms, clock.now_ms)
        self._as_read = (clock.now_ms, clock.next_lease_end_ms, clock.queue_until_ms)
        clock.now_ms = self.now_ms
        self._rows: dict[str, AccountRow] = {}
        self._entries: list[Entry] = []

    def load(self, names: Sequence[str]) -> list[AccountRow]:
        """The rows of these accounts, in this order."""
        rows = self._rows
        missing = [name for name in names if name not in rows]
        if missing:
            for row in self.store.read_accounts(missing):
                rows[row.name] = row
                if row.free_at_ms is not None and row.free_at_ms <= self.now_ms:
                    self._free(row)
            for name in missing:
                if name not in rows:
                    rows[name] = AccountRow(name)
        return [rows[name] for name in names]

    def _free(self, row: AccountRow) -> None:
        """Take what has left the window off the sums."""
        for amount, is_open in self.store.drop_expired(row.name, self.now_ms):
            if is_open:
                row.held -= amount
            else:
                row.live -= amount
        row.free_at_ms = self.store.first_free_at_ms(row.name)
        row.changed = True

    def enter(self, row: AccountRow, entry: Entry) -> None:
        """Put an entry into a window; the caller changes the row's sums."""
        self._entries.append(entry)
        if row.free_at_ms is None or entry.free_at_ms < row.free_at_ms:
            row.free_at_ms = entry.free_at_ms

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
        clock = self.clock
        if (clock.now_ms, clock.next_lease_end_ms, clock.queue_until_ms) != self._as_read:
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
