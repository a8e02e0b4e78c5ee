"""How accounts look to a reader, as a sweep would leave them; knows rows and times, and no storage, and changes nothing."""

from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from paymaster.accounting.accounts import Balance
from paymaster.ledgers.store import AccountRow, Entry, OpenHold, Ticket

# So many accounts are a page: reading and looking at them takes a millisecond or two.
PAGE = 250


class WindowSum(NamedTuple):
    """A window in short: the sums of what has left it, of open holds and of others, and when the first and the last of the rest leave.

    A time is None if there is no rest.
    """

    open: int = 0
    settled: int = 0
    first_ms: int | None = None
    last_ms: int | None = None


class AccountViews:
    """The accounts of one ledger at `now_ms`, its own time. `tickets` are its queue, `expired` the holds that a sweep would charge."""

    def __init__(self, now_ms: int, expired: Iterable[OpenHold] = (), tickets: Iterable[Ticket] = ()) -> None:
        self.now_ms = now_ms
        self._lost: dict[str, list[tuple[int, int, int | None]]] = {}
        self.add_expired(expired)
        self._ahead: dict[str, int] = {}
        for ticket in tickets:
            for account, amount in ticket.asks.items():
                self._ahead[account] = self._ahead.get(account, 0) + amount

    def add_expired(self, holds: Iterable[OpenHold]) -> None:
        """Count more holds as a sweep would."""
        for hold in holds:
            for charge in hold.charges:
                self._lost.setdefault(charge.account, []).append((hold.at_ms, charge.amount, charge.window_ms))

    def at(self, now_ms: int) -> "AccountViews":
        """The same at another time."""
        moved = AccountViews(now_ms)
        moved._lost, moved._ahead = self._lost, self._ahead
        return moved

    def whole(self, row: AccountRow, entries: Iterable[Entry]) -> Balance:
        """An account, with everything that leaves its window later. `entries` are all that it has in its window."""
        open_sum = settled_sum = 0
        staying: list[Entry] = []
        for entry in entries:
            if entry.free_at_ms > self.now_ms:
                staying.append(entry)
            elif entry.is_open:
                open_sum += entry.amount
            else:
                settled_sum += entry.amount
        return self._balance(row, open_sum, settled_sum, tuple(by_time(staying)))

    def short(self, row: AccountRow, window: WindowSum | None) -> Balance:
        """An account, with the first and the last moment at which something leaves its window, without amounts (0)."""
        if window is None:
            return self._balance(row, 0, 0, ())
        moments = dict.fromkeys(at_ms for at_ms in (window.first_ms, window.last_ms) if at_ms is not None)
        return self._balance(row, window.open, window.settled, tuple((at_ms, 0) for at_ms in moments))

    def _balance(self, row: AccountRow, expired_open: int, expired_settled: int, free_at: tuple[tuple[int, int], ...]) -> Balance:
        settled, live, held = row.settled, row.live - expired_settled, row.held - expired_open
        for held_at_ms, amount, window_ms in self._lost.get(row.name, ()):
            if window_ms is None:
                settled += amount
            elif window_ms > 0:
                if held_at_ms + window_ms <= self.now_ms:
                    continue  # it has left the window, and is among the entries that have
                live += amount
            held -= amount
        return Balance(settled, live, held, self._ahead.get(row.name, 0), free_at)


def sum_window(entries: Iterable[Entry], now_ms: int) -> WindowSum:
    """A window in short, from all its entries in order."""
    open_sum = settled_sum = 0
    first_ms = last_ms = None
    for entry in entries:
        if entry.free_at_ms > now_ms:
            first_ms = entry.free_at_ms if first_ms is None else first_ms
            last_ms = entry.free_at_ms
        elif entry.is_open:
            open_sum += entry.amount
        else:
            settled_sum += entry.amount
    return WindowSum(open_sum, settled_sum, first_ms, last_ms)


def by_time(entries: Iterable[Entry]) -> Iterable[tuple[int, int]]:
    """One pair per moment: what leaves together is one amount, and left out if that is 0."""
    for free_at_ms, together in groupby(entries, key=attrgetter("free_at_ms")):
        amount = sum(entry.amount for entry in together)
        if amount:
            yield free_at_ms, amount


def distinct_prefixes(prefixes: Iterable[str]) -> list[str]:
    """The prefixes, without those that another one covers: no account is read twice."""
    found: list[str] = []
    for prefix in sorted(prefixes):
        if not found or not prefix.startswith(found[-1]):
            found.append(prefix)
    return found
