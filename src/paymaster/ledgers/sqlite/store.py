"""The rows of a ledger in SQLite, with one statement per method; knows neither the rule nor when a transaction begins."""
# ruff: noqa: D102 - the methods of a store are documented in `Store`

import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any

import orjson

from paymaster.accounting.accounts import Charge, Record
from paymaster.ledgers.account_views import WindowSum
from paymaster.ledgers.sqlite.file import read_statements
from paymaster.ledgers.sqlite.machine_clock import TOLERANCE_MS, Claim, ReadsMachineTime, is_agreed
from paymaster.ledgers.sqlite.process_locks import ProcessLocks
from paymaster.ledgers.store import AccountRow, Clock, Entry, Known, OpenHold, Ticket, follow_caller

# A record's position in the journal is its time in milliseconds, with this many bits for the number within the millisecond.
SEQ_BITS = 20
# A claim that is older (in the ledger's time) is forgotten.
CLAIM_KEPT_MS = 24 * 3_600_000
# Behind a prefix, it sorts after every name that begins with the prefix.
LAST_CHARACTER = "\U0010ffff"


class DamagedRow(sqlite3.DatabaseError):
    """A value that no Paymaster wrote."""

    sqlite_errorcode = sqlite3.SQLITE_CORRUPT


@dataclass(slots=True)
class MachineBoundClock(Clock):
    """The clock, with the machine's start and uptime at `now_ms`; when the last claim was made that it is behind, and last denied."""

    boot_id: str = ""
    uptime_ms: int = 0
    claimed_at_ms: int = 0
    confirmed_at_ms: int = 0


class SqliteStore:
    """`Store` over one connection. `connection` is the caller's to begin, commit and close.

    With `machine_time` the ledger's time follows its callers within bounds (`machine_clock`), else the latest of them; `note_ahead` is
    called when this caller is ahead and not believed. `locks` shows others that this process lives, from before its first hold.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        process: str = "",
        machine_time: ReadsMachineTime | None = None,
        note_ahead: Callable[[int], None] = lambda _: None,
        locks: ProcessLocks | None = None,
    ) -> None:
        self.connection = connection
        self.process = process
        self._machine_time = machine_time
        self._note_ahead = note_ahead
        self._locks = locks
        self._sql = read_statements()
        self._by_count: dict[tuple[str, int], str] = {}
        self._claim: Claim | None = None

    def find_known(self, hold_id: str) -> Known:
        now_ms, *times, retire_after, boot_id, lost, at_ms, lease_until_ms, charges, lost_record, process = self._only(
            "find_known", hold_id, hold_id
        )
        lease_ms, queue_until_ms, next_expiry_ms, uptime_ms, claimed_at_ms, confirmed_at_ms, retire_at_ms, retire_days = times
        try:
            now_ms | queue_until_ms | uptime_ms | claimed_at_ms | confirmed_at_ms | retire_at_ms | retire_days
            (lease_ms or 0) | (next_expiry_ms or 0)
        except TypeError as error:
            raise DamagedRow("the clock has values that are no whole numbers") from error
        clock = MachineBoundClock(now_ms, lease_ms, queue_until_ms, next_expiry_ms, retire_at_ms, retire_after, retire_days)
        clock.boot_id, clock.uptime_ms, clock.claimed_at_ms, clock.confirmed_at_ms = boot_id, uptime_ms, claimed_at_ms, confirmed_at_ms
        hold = None if at_ms is None else _hold(hold_id, at_ms, lease_until_ms, charges, lost_record, process)
        return Known(clock, hold, None if lost is None else bool(lost))

    def set_time(self, clock: Clock, caller_ms: int) -> None:
        self._claim = None
        if not isinstance(clock, MachineBoundClock):
            raise TypeError("a clock of another store")
        if self._machine_time is None:
            follow_caller(clock, caller_ms)
            clock.boot_id = ""
            return
        boot_id, uptime_ms = self._machine_time()
        if clock.boot_id == boot_id:
            clock.now_ms += max(0, uptime_ms - clock.uptime_ms)
        else:
            newest_ms, clock.changed = self.newest_ms()[0], True
            clock.now_ms = max(caller_ms, newest_ms) if clock.boot_id else newest_ms
        clock.boot_id, clock.uptime_ms = boot_id, uptime_ms
        ahead_ms = caller_ms - clock.now_ms
        if ahead_ms > TOLERANCE_MS:
            self._hear_claim(clock, caller_ms)
        elif clock.claimed_at_ms > clock.confirmed_at_ms and ahead_ms >= -TOLERANCE_MS:
            clock.confirmed_at_ms, clock.changed = clock.now_ms, True

    def _hear_claim(self, clock: MachineBoundClock, caller_ms: int) -> None:
        """A caller is ahead: believe it, or note what it claims."""
        now_ms, ahead_ms = clock.now_ms, caller_ms - clock.now_ms
        claims = self.list_claims()
        since_ms = next((claim.since_ms for claim in claims if claim.process == self.process), now_ms)
        claim = Claim(self.process, ahead_ms, max(since_ms, clock.confirmed_at_ms + 1), now_ms)
        clock.changed = True
        if self._one("is_quiet", now_ms, now_ms)[0] or is_agreed(claim, claims, clock.confirmed_at_ms):
            clock.now_ms = clock.confirmed_at_ms = caller_ms
        else:
            self._claim, clock.claimed_at_ms = claim, now_ms
            self._note_ahead(ahead_ms)

    def list_claims(self) -> Sequence[Claim]:
        """The processes that were ahead of the ledger's time, and are not known to be believed."""
        return [Claim(*values) for values in self._run("list_claims")]

    def newest_ms(self) -> tuple[int, int]:
        """The latest time that the ledger itself shows, and the time of its newest record; 0 without any."""
        newest_ms, record_ms = self._only("newest")
        return newest_ms, record_ms

    def identity(self) -> str:
        """The ledger's id."""
        return str(self._only("find_identity")[0])

    def write_clock(self, clock: Clock) -> None:
        if not isinstance(clock, MachineBoundClock):
            raise TypeError("a clock of another store")
        times = (clock.now_ms, clock.next_lease_end_ms, clock.queue_until_ms, clock.boot_id, clock.uptime_ms)
        self._run("write_clock", *times, clock.claimed_at_ms, clock.confirmed_at_ms, clock.retire_at_ms, clock.retire_after)
        if self._claim is not None:
            self._run("drop_claims", clock.now_ms - CLAIM_KEPT_MS)
            self._run("write_claim", *self._claim)

    def read_accounts(self, names: Sequence[str]) -> Iterable[AccountRow]:
        return self._read_sums("read_accounts", names)

    def list_accounts(self, prefix: str) -> Sequence[AccountRow]:
        return _accounts(self._run("list_accounts", prefix, prefix + LAST_CHARACTER).fetchall())

    def read_all_accounts(self, prefix: str) -> Iterable[AccountRow]:
        """The accounts whose names start so, by name, read as they are consumed."""
        for values in self._run("list_accounts", prefix, prefix + LAST_CHARACTER):
            yield from _accounts([values])

    def list_windows(self, prefix: str, now_ms: int) -> Iterable[tuple[AccountRow, WindowSum | None]]:
        """The same, each with its window in short (None: it is empty)."""
        bounds = {"first": prefix, "last": prefix + LAST_CHARACTER, "now_ms": now_ms}
        for *values, open_sum, settled_sum, first_ms, last_ms in self.connection.execute(self._sql["list_windows"], bounds):
            (row,) = _accounts([tuple(values)])
            yield row, None if open_sum is None else _window(row.name, open_sum, settled_sum, first_ms, last_ms)

    def write_accounts(self, rows: Sequence[AccountRow]) -> None:
        self._run_many("write_account", [(row.name, row.settled, row.live, row.held) for row in rows])

    def page_accounts(self, after: str, count: int) -> Sequence[AccountRow]:
        return _accounts(self._run("page_accounts", after, count).fetchall())

    def read_retired(self, names: Sequence[str]) -> Iterable[AccountRow]:
        return self._read_sums("read_retired", names)

    def retire(self, kept: Sequence[AccountRow], leaving: Sequence[str]) -> None:
        self._run_many("keep_retired", [(row.name, row.settled) for row in kept])
        self._run_many("drop_account", [(name,) for name in leaving])

    def forget_retired(self, names: Sequence[str]) -> None:
        self._run_many("drop_retired", [(name,) for name in names])

    def list_entries(self, account: str) -> Iterable[Entry]:
        return map(_entry, self._run("list_entries", account))

    def list_all_entries(self, prefix: str) -> Iterable[Entry]:
        return map(_entry, self._run("list_all_entries", prefix, prefix + LAST_CHARACTER))

    def list_entries_of(self, accounts: Sequence[str]) -> Iterable[Entry]:
        """The entries of these accounts, by account and the time they leave."""
        return map(_entry, self.connection.execute(_for_names(self._sql["list_entries_of"], len(accounts)), accounts))

    def find_entry(self, account: str, free_at_ms: int, owner: str) -> Entry | None:
        values = self._one("find_entry", free_at_ms, account, owner)
        return _entry(values) if values else None

    def write_entries(self, entries: Sequence[Entry]) -> None:
        self._run_many("write_entry", entries)

    def take_expired(self, now_ms: int, most: int) -> Sequence[Entry]:
        expired = [_entry(values) for values in self._run("list_expired", now_ms, most)]
        if expired:
            self._run("drop_expired", expired[-1].free_at_ms, expired[-1].account, expired[-1].owner)
        return expired

    def has_expired(self, now_ms: int) -> bool:
        return bool(self._only("has_expired", now_ms)[0])

    def drop_settled(self, account: str) -> None:
        self._run("drop_settled", account)

    def write_hold(self, hold: OpenHold) -> None:
        if self._locks is not None:
            self._locks.take()
        self._run("write_hold", hold.id, hold.at_ms, hold.lease_until_ms, _pack(hold.charges), hold.lost_record, hold.process)

    def drop_hold(self, hold_id: str) -> None:
        self._run("drop_hold", hold_id)

    def list_holds(self) -> Sequence[OpenHold]:
        return [_hold(*values) for values in self._run("list_holds")]

    def list_expired_holds(self, now_ms: int, most: int) -> Sequence[OpenHold]:
        return [_hold(*values) for values in self._run("list_expired_holds", now_ms, most)]

    def list_holds_of(self, processes: Collection[str], most: int) -> Sequence[OpenHold]:
        return [_hold(*values) for values in self._run("list_holds_of", orjson.dumps(sorted(processes)).decode(), most)]

    def next_lease_end_ms(self) -> int | None:
        lease_until_ms: int | None = self._only("next_lease_end")[0]
        return lease_until_ms

    def find_charged(self, hold_id: str) -> Mapping[str, int]:
        return _amounts(hold_id, self._one("find_charged", hold_id)[0])

    def write_record(self, record: Record) -> None:
        amounts = orjson.dumps(record.amounts).decode()
        self._run("write_record", record.at_ms << SEQ_BITS, record.hold_id, record.at_ms, record.lost, amounts, record.body)

    def read_records(self, after_ms: int) -> Iterable[Record]:
        """The journal after that time, read as it is consumed."""
        for hold_id, at_ms, lost, amounts, body in self._run("list_records", (after_ms + 1) << SEQ_BITS):
            if type(at_ms) is not int:
                raise DamagedRow(f"the time of the record of {hold_id!r} is no whole number")
            yield Record(hold_id, at_ms, bool(lost), _amounts(hold_id, amounts), body)

    def list_tickets(self) -> Sequence[Ticket]:
        return [
            Ticket(hold_id, turn, until_ms, _amounts(hold_id, asks), _amounts(hold_id, names), since_ms)
            for hold_id, turn, until_ms, asks, names, since_ms in self._run("list_tickets")
        ]

    def write_ticket(self, ticket: Ticket) -> None:
        if self._locks is not None:
            self._locks.note_ticket(ticket.hold_id)
        asks, names = orjson.dumps(ticket.asks).decode(), orjson.dumps(ticket.names).decode()
        self._run("write_ticket", ticket.hold_id, ticket.turn, ticket.until_ms, asks, names, ticket.since_ms)

    def drop_ticket(self, hold_id: str) -> None:
        self._run("drop_ticket", hold_id)

    def drop_tickets(self, until_ms: int) -> None:
        self._run("drop_tickets", until_ms)

    def _read_sums(self, verb: str, names: Sequence[str]) -> list[AccountRow]:
        """The rows that a statement finds by their names."""
        key = verb, len(names)
        sql = self._by_count.get(key)
        if sql is None:
            sql = self._by_count[key] = _for_names(self._sql[verb], len(names))
        return _accounts(self.connection.execute(sql, names).fetchall())

    def _run(self, verb: str, *values: str | int | None) -> sqlite3.Cursor:
        return self.connection.execute(self._sql[verb], values)

    def _run_many(self, verb: str, rows: Sequence[tuple[str | int | None, ...]]) -> None:
        self.connection.executemany(self._sql[verb], rows)

    def _one(self, verb: str, *values: str | int | None) -> tuple[Any, ...]:
        row: tuple[Any, ...] = self.connection.execute(self._sql[verb], values).fetchone()
        return row

    def _only(self, verb: str, *values: str | int | None) -> tuple[Any, ...]:
        """The one row of a table that always has one."""
        row = self._one(verb, *values)
        if row is None:
            raise DamagedRow(f"the row that {verb} reads, of the clock or the identity, is missing")
        return row


class GroupStore(SqliteStore):
    """The store of several works in one transaction: accounts and the clock are read once for all of them, and written by `flush`.

    What they clean up in passing is bounded for all of them together.
    """

    def __init__(self, store: SqliteStore) -> None:
        self.connection, self._sql, self._by_count = store.connection, store._sql, store._by_count  # noqa: SLF001  a store of the same room
        self.process, self._machine_time, self._note_ahead = store.process, store._machine_time, store._note_ahead  # noqa: SLF001  the same
        self._locks = store._locks  # noqa: SLF001  the same
        self._claim = None
        self._rows: dict[str, AccountRow] = {}
        self._changed: dict[str, AccountRow] = {}
        self._clock: Clock | None = None
        self._clock_changed = False
        self._taken = self._swept = 0

    def take_expired(self, now_ms: int, most: int) -> Sequence[Entry]:
        expired = super().take_expired(now_ms, most - self._taken) if self._taken < most else ()
        self._taken += len(expired)
        return expired

    def list_expired_holds(self, now_ms: int, most: int) -> Sequence[OpenHold]:
        expired = super().list_expired_holds(now_ms, most - self._swept) if self._swept < most else ()
        self._swept += len(expired)
        return expired

    def find_known(self, hold_id: str) -> Known:
        known = super().find_known(hold_id)
        if self._clock is None:
            self._clock = known.clock
            return known
        return known._replace(clock=self._clock)

    def write_clock(self, clock: Clock) -> None:
        self._clock_changed = True

    def read_accounts(self, names: Sequence[str]) -> Iterable[AccountRow]:
        rows = self._rows
        missing = [name for name in names if name not in rows]
        if missing:
            rows.update((row.name, row) for row in super().read_accounts(missing))
        return [rows[name] for name in names if name in rows]

    def page_accounts(self, after: str, count: int) -> Sequence[AccountRow]:
        found = {row.name: row for row in super().page_accounts(after, count)}
        found.update((name, row) for name, row in self._rows.items() if name in found or (name in self._changed and name > after))
        return [found[name] for name in sorted(found)[:count]]

    def retire(self, kept: Sequence[AccountRow], leaving: Sequence[str]) -> None:
        super().retire(kept, leaving)
        for name in leaving:
            self._rows.pop(name, None)
            self._changed.pop(name, None)

    def write_accounts(self, rows: Sequence[AccountRow]) -> None:
        for row in rows:
            row.changed = False
            self._rows[row.name] = self._changed[row.name] = row

    def flush(self) -> None:
        """Write what has changed."""
        if self._changed:
            super().write_accounts(list(self._changed.values()))
        if self._clock is not None and self._clock_changed:
            super().write_clock(self._clock)


def _for_names(sql: str, count: int) -> str:
    """A statement with so many names."""
    return sql.replace("(:names)", f"({', '.join('?' * count)})")


def _accounts(rows: Sequence[tuple[str, int, int, int]]) -> list[AccountRow]:
    name = ""
    try:
        for name, settled, live, held in rows:  # noqa: B007 - the message names the last one
            settled | live | held  # only whole numbers have this operation
    except TypeError as error:
        raise DamagedRow(f"the sums of account {name!r} are no whole numbers") from error
    return [AccountRow(*values) for values in rows]


def _entry(values: tuple[str, int, str, int, int]) -> Entry:
    account, free_at_ms, owner, amount, is_open = values
    if not (type(free_at_ms) is type(amount) is int):
        raise DamagedRow(f"an entry in the window of {account!r} is no whole number")
    return Entry(account, free_at_ms, owner, amount, bool(is_open))


def _window(account: str, open_sum: int, settled_sum: int, first_ms: int | None, last_ms: int | None) -> WindowSum:
    if any(type(figure) not in {int, NoneType} for figure in (open_sum, settled_sum, first_ms, last_ms)):
        raise DamagedRow(f"an entry in the window of {account!r} is no whole number")
    return WindowSum(open_sum, settled_sum, first_ms, last_ms)


def _hold(hold_id: str, at_ms: int, lease_until_ms: int, charges: str, lost_record: str, process: str) -> OpenHold:
    try:
        at_ms | lease_until_ms  # only whole numbers have this operation
        unpacked = tuple([Charge(*parts) for parts in orjson.loads(charges)])
    except (orjson.JSONDecodeError, TypeError) as error:
        raise DamagedRow(f"the charges or times of hold {hold_id!r} can't be read") from error
    return OpenHold(hold_id, at_ms, lease_until_ms, unpacked, lost_record, process)


def _amounts(hold_id: str, text: str) -> Mapping[str, int]:
    """Amounts by name."""
    try:
        amounts: Any = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise DamagedRow(f"the amounts of {hold_id!r} are no JSON") from error
    if not isinstance(amounts, dict) or any(type(amount) is not int for amount in amounts.values()):
        raise DamagedRow(f"the amounts of {hold_id!r} are no whole numbers")
    found: dict[str, int] = amounts
    return found


def _pack(charges: Sequence[Charge]) -> str:
    return orjson.dumps([(charge.account, charge.amount, charge.cap, charge.window_ms) for charge in charges]).decode()
