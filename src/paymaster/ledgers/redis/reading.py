"""Reads a ledger on a server page by page, as the server does nothing else during a script; knows scripts, and no connection.

A page is of one instant, two pages are not: what is read here is shown and added up, and decides about no call.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

from paymaster.accounting.accounts import Balance, Queued, Record, Settlement
from paymaster.ledgers.account_views import PAGE, AccountViews, WindowSum, distinct_prefixes, sum_window
from paymaster.ledgers.callers_time import balances_as_seen, queue_as_seen
from paymaster.ledgers.redis.connections import Reply
from paymaster.ledgers.redis.messages import (
    ScriptRequest,
    bytes_of,
    figures,
    list_of,
    next_position,
    pairs_of,
    read_hold,
    read_journal,
    read_tickets,
    read_time,
    text_of,
)
from paymaster.ledgers.store import AccountRow, Entry, OpenHold, Ticket

# What a script reads at most, a matter of a millisecond or two: open holds, tickets, entries of windows, records.
HOLDS, TICKETS, ENTRIES, RECORDS = 200, 100, 500, 500
Asks: TypeAlias = Callable[[str, ScriptRequest], Awaitable["list[Reply]"]]
"""Runs a script whose answer is a list."""
Parsed = TypeVar("Parsed")


class Parses(Protocol):
    """What a function makes of an answer. Raises LedgerUnusable for values that can't be read."""

    def __call__(self, read: Callable[["list[Reply]"], Parsed], reply: "list[Reply]", /) -> Parsed:
        """Read it."""
        ...


class _Page(NamedTuple):
    """Some accounts at `at_ms`. A window is None if it is empty, and -1 as its sum of open holds if it was too long to add up."""

    at_ms: int
    has_expired: bool
    has_tickets: bool
    rows: list[tuple[AccountRow, WindowSum | None]]


_LONG = WindowSum(-1)


class RedisReading:
    """Readings by scripts. Without `server_clock` the ledger's time is that of its callers."""

    def __init__(self, ask: Asks, parse: Parses, *, server_clock: bool) -> None:
        self._ask = ask
        self._parse = parse
        self._server_clock = server_clock

    async def balances(self, prefix: str, now_ms: int) -> dict[str, Balance]:
        """The accounts whose names start so, as a sweep would leave them, with all that leaves their windows."""
        pages = self._balance_pages({"prefixes": [prefix]}, now_ms, whole=True)
        return {account: balance async for page in pages for account, balance in page.items()}

    def balance_pages(self, prefixes: Sequence[str], now_ms: int) -> AsyncGenerator[Mapping[str, Balance], None]:
        """The accounts whose names start with one of these, page by page, with windows in short."""
        return self._balance_pages({"prefixes": distinct_prefixes(prefixes)}, now_ms, whole=False)

    async def balances_of(self, accounts: Sequence[str], now_ms: int) -> dict[str, Balance]:
        """These accounts, like `balances`, also those that have left the ledger."""
        found: dict[str, Balance] = {}
        names = list(dict.fromkeys(accounts))
        for first in range(0, len(names), PAGE):
            async for page in self._balance_pages({"accounts": names[first : first + PAGE]}, now_ms, whole=True):
                found.update(page)
        return found

    async def waiting(self, now_ms: int) -> tuple[Queued, ...]:
        """The queue, first come first."""
        at_ms, tickets = await self._tickets(now_ms)
        queue = [Queued(ticket.hold_id, tuple(sorted(ticket.asks)), ticket.names, ticket.since_ms) for ticket in tickets]
        return queue_as_seen(queue, self._time(at_ms, now_ms), now_ms)

    async def records(self, after_ms: int) -> AsyncGenerator[Record, None]:
        """The records written after that time, in order, up to the last one when the reading begins."""
        async for page in self._journal(after_ms + 1):
            for _, record in page:
                yield record

    async def look_up(self, settlement: Settlement) -> str:
        """What the journal has of a hold that the ledger no longer remembers: "new" (nothing), "settled" or its position as lost."""
        async for page in self._journal(max(0, settlement.held_at_ms)):
            for found, record in page:
                if record.hold_id == settlement.hold.id:
                    return found if record.lost else "settled"
        return "new"

    async def _journal(self, from_ms: int) -> AsyncGenerator[list[tuple[str, Record]], None]:
        """The journal from that time to its end now, in pages of records with their positions."""
        position, last = f"{from_ms}-0", ""
        while True:
            until = {"last": last} if last else {}
            page, last = self._parse(read_journal, await self._ask("records", {"first": position, "count": RECORDS} | until))
            yield page
            if len(page) < RECORDS:
                return
            position = next_position(page[-1][0])

    async def _balance_pages(self, wanted: ScriptRequest, now_ms: int, *, whole: bool) -> AsyncGenerator[Mapping[str, Balance], None]:
        """Pages of the accounts that are wanted.

        Holds whose lease is over are read behind the accounts: each that is open then was open when its accounts were read, so it is not
        counted twice if somebody charges it meanwhile.
        """
        seen, names = AccountViews(0), set[str]()
        behind: list[list[Reply]] = []
        async for reply in self._account_pages(wanted, now_ms):
            page = self._parse(_read_page, reply)
            if page.has_tickets and not names:
                seen = AccountViews(0, (), (await self._tickets(now_ms))[1])
            if page.has_expired or behind:
                behind.append(reply)  # as it was answered: objects by the hundred thousand would keep the garbage collector busy
            else:
                yield await self._view(seen, page, names, now_ms, whole=whole)
        if behind:
            async for holds in self._expired_holds(now_ms):
                seen.add_expired(holds)
            for reply in behind:
                yield await self._view(seen, self._parse(_read_page, reply), names, now_ms, whole=whole)

    async def _view(self, seen: AccountViews, page: _Page, names: set[str], now_ms: int, *, whole: bool) -> dict[str, Balance]:
        """The accounts of a page that are not among the `names` that were read: the server may answer one twice."""
        rows = [(row, window) for row, window in page.rows if row.name not in names]
        names.update(row.name for row, _ in rows)
        windows = await self._windows([row.name for row, window in rows if window is _LONG or (whole and window is not None)], now_ms)
        then, balances = seen.at(page.at_ms), dict[str, Balance]()
        for row, window in rows:
            entries = windows.get(row.name)
            if entries is None:
                balances[row.name] = then.short(row, window)
            else:
                balances[row.name] = then.whole(row, entries) if whole else then.short(row, sum_window(entries, page.at_ms))
        return balances_as_seen(balances, self._time(page.at_ms, now_ms), now_ms)

    async def _account_pages(self, wanted: ScriptRequest, now_ms: int) -> "AsyncGenerator[list[Reply], None]":
        """Accounts as they are written, page by page."""
        cursor = "0"
        while True:
            reply = await self._ask("balances", {**self._clock(now_ms), **wanted, "cursor": cursor, "count": PAGE})
            yield reply
            cursor = self._parse(_read_cursor, reply)
            if cursor == "0":
                return

    async def _windows(self, accounts: Sequence[str], now_ms: int) -> dict[str, list[Entry]]:
        """All that is in these accounts' windows."""
        found: dict[str, list[Entry]] = {account: [] for account in accounts}
        rest, rank = list(accounts), 0
        while rest:
            request = {**self._clock(now_ms), "accounts": rest, "from": rank, "count": ENTRIES}
            goes_on, windows = self._parse(_read_windows, await self._ask("windows", request))
            for account, entries in zip(rest, windows, strict=False):
                found[account] += (Entry(account, at_ms, "", amount, is_open == 1) for at_ms, amount, is_open in entries)
            done = len(windows) - goes_on
            rank = len(windows[-1]) + (rank if done == 0 else 0) if goes_on else 0
            rest = rest[done:]
        return found

    async def _expired_holds(self, now_ms: int) -> AsyncGenerator[list[OpenHold], None]:
        """The open holds whose lease is over, each once."""
        seen, cursor = set[str](), "0"
        while True:
            reply = await self._ask("expired_holds", {**self._clock(now_ms), "cursor": cursor, "count": HOLDS})
            cursor, holds = self._parse(_read_holds, reply)
            yield [hold for hold in holds if hold.id not in seen]
            seen.update(hold.id for hold in holds)
            if cursor == "0":
                return

    async def _tickets(self, now_ms: int) -> tuple[int, list[Ticket]]:
        """The ledger's time, and the tickets by turn."""
        found: dict[str, Ticket] = {}
        cursor, at_ms = "0", 0
        while True:
            reply = await self._ask("waiting", {**self._clock(now_ms), "cursor": cursor, "count": TICKETS})
            at_ms = self._parse(read_time, reply)
            cursor, tickets = self._parse(read_tickets, reply)
            found.update((ticket.hold_id, ticket) for ticket in tickets)
            if cursor == "0":
                return at_ms, sorted(found.values(), key=lambda ticket: (ticket.turn, ticket.hold_id))

    def _clock(self, now_ms: int) -> dict[str, object]:
        return {} if self._server_clock else {"clock_ms": now_ms}

    def _time(self, at_ms: int, now_ms: int) -> int:
        """The time of a ledger with a clock of its own."""
        return at_ms if self._server_clock else now_ms


def _read_cursor(reply: "list[Reply]") -> str:
    return bytes_of(reply[1]).decode()


def _read_page(reply: "list[Reply]") -> _Page:
    _, _, has_expired, has_tickets, *items = reply
    rows: list[tuple[AccountRow, WindowSum | None]] = []
    for name, packed in pairs_of([bytes_of(item) for item in items]):
        settled, live, held, *window = figures(packed)
        rows.append((AccountRow(text_of(name, "account"), settled, live, held), _read_window(window)))
    return _Page(read_time(reply), has_expired == 1, has_tickets == 1, rows)


def _read_window(sums: Sequence[int]) -> WindowSum | None:
    if not sums:
        return None
    if len(sums) == 1:
        return _LONG
    open_sum, settled_sum, first_ms, last_ms = sums
    return WindowSum(open_sum, settled_sum, first_ms or None, last_ms or None)


def _read_windows(reply: "list[Reply]") -> tuple[bool, list[list[tuple[int, int, int]]]]:
    """Whether the last window goes on; and of each (when it leaves, amount, 1 if it is an open hold's)."""
    _, goes_on, *windows = reply
    parts = [figures(bytes_of(window)) for window in windows]
    return goes_on == 1, [list(zip(part[::3], part[1::3], part[2::3], strict=True)) for part in parts]


def _read_holds(reply: "list[Reply]") -> tuple[str, list[OpenHold]]:
    _, cursor, *items = reply
    holds = [read_hold(name, packed) for name, packed in pairs_of([bytes_of(item) for item in items])]
    return bytes_of(cursor).decode(), holds


def read_hash(reply: Reply) -> tuple[str, list[tuple[bytes, bytes]]]:
    """A part of a hash: the next cursor, and names with values."""
    _, cursor, found = list_of(reply)
    return bytes_of(cursor).decode(), list(pairs_of([bytes_of(each) for each in list_of(found)]))
