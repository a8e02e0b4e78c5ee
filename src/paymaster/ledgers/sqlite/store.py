"""The rows of a ledger in SQLite, with one statement per method; knows neither the rule nor when a transaction begins."""
# ruff: noqa: D102 - the methods of a store are documented in `Store`

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from paymaster.accounting.accounts import Charge, Record
from paymaster.ledgers.sqlite.file import read_statements
from paymaster.ledgers.store import AccountRow, Clock, Entry, Known, OpenHold, Ticket

# A record's position in the journal is its time in milliseconds, with this many bits for the number within the millisecond.
SEQ_BITS = 20
# Behind a prefix, it sorts after every name that begins with the prefix.
LAST_CHARACTER = "\U0010ffff"


class SqliteStore:
    """`Store` over one connection. `connection` is the caller's to begin, commit and close."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._sql = read_statements()
        self._read_accounts: dict[int, str] = {}

    def find_known(self, hold_id: str) -> Known:
        now_ms, lease_ms, queue_until_ms, at_ms, lease_until_ms, charges, lost_record, lost = self._one("find_known", hold_id, hold_id)
        hold = None if at_ms is None else OpenHold(hold_id, at_ms, lease_until_ms, _unpack(charges), lost_record)
        return Known(Clock(now_ms, lease_ms, queue_until_ms), hold, None if lost is None else bool(lost))

    def write_clock(self, clock: Clock) -> None:
        self._run("write_clock", clock.now_ms, clock.next_lease_end_ms, clock.queue_until_ms)

    def read_accounts(self, names: Sequence[str]) -> Iterable[AccountRow]:
        count = len(names)
        sql = self._read_accounts.get(count)
        if sql is None:
            sql = self._sql["read_accounts"].replace("(:names)", f"({', '.join('?' * count)})")
            self._read_accounts[count] = sql
        return [AccountRow(*values) for values in self.connection.execute(sql, names).fetchall()]

    def list_accounts(self, prefix: str) -> Sequence[AccountRow]:
        return [AccountRow(*values) for values in self._run("list_accounts", prefix, prefix + LAST_CHARACTER)]

    def write_accounts(self, rows: Sequence[AccountRow]) -> None:
        self._run_many("write_account", [(row.name, row.settled, row.live, row.held, row.free_at_ms) for row in rows])

    def list_entries(self, account: str) -> Iterable[Entry]:
        for name, free_at_ms, owner, amount, is_open in self._run("list_entries", account):
            yield Entry(name, free_at_ms, owner, amount, bool(is_open))

    def find_entry(self, account: str, free_at_ms: int, owner: str) -> Entry | None:
        values = self._one("find_entry", account, free_at_ms, owner)
        return Entry(account, free_at_ms, owner, values[3], bool(values[4])) if values else None

    def write_entries(self, entries: Sequence[Entry]) -> None:
        self._run_many("write_entry", entries)

    def drop_expired(self, account: str, now_ms: int) -> Sequence[tuple[int, bool]]:
        expired = [(amount, bool(is_open)) for amount, is_open in self._run("list_expired", account, now_ms)]
        self._run("drop_expired", account, now_ms)
        return expired

    def drop_settled(self, account: str) -> None:
        self._run("drop_settled", account)

    def first_free_at_ms(self, account: str) -> int | None:
        free_at_ms: int | None = self._one("first_free", account)[0]
        return free_at_ms

    def write_hold(self, hold: OpenHold) -> None:
        self._run("write_hold", hold.id, hold.at_ms, hold.lease_until_ms, _pack(hold.charges), hold.lost_record)

    def drop_hold(self, hold_id: str) -> None:
        self._run("drop_hold", hold_id)

    def list_holds(self) -> Sequence[OpenHold]:
        return [
            OpenHold(hold_id, at_ms, lease_until_ms, _unpack(charges), lost_record)
            for hold_id, at_ms, lease_until_ms, charges, lost_record in self._run("list_holds")
        ]

    def find_charged(self, hold_id: str) -> Mapping[str, int]:
        amounts: dict[str, int] = orjson.loads(self._one("find_charged", hold_id)[0])
        return amounts

    def write_record(self, record: Record) -> None:
        amounts = orjson.dumps(record.amounts).decode()
        self._run("write_record", record.at_ms << SEQ_BITS, record.hold_id, record.at_ms, record.lost, amounts, record.body)

    def read_records(self, after_ms: int) -> Iterable[Record]:
        """The journal after that time, read as it is consumed."""
        for hold_id, at_ms, lost, amounts, body in self._run("list_records", (after_ms + 1) << SEQ_BITS):
            yield Record(hold_id, at_ms, bool(lost), orjson.loads(amounts), body)

    def list_tickets(self) -> Sequence[Ticket]:
        return [
            Ticket(hold_id, turn, until_ms, orjson.loads(asks), orjson.loads(names), since_ms)
            for hold_id, turn, until_ms, asks, names, since_ms in self._run("list_tickets")
        ]

    def write_ticket(self, ticket: Ticket) -> None:
        asks, names = orjson.dumps(ticket.asks).decode(), orjson.dumps(ticket.names).decode()
        self._run("write_ticket", ticket.hold_id, ticket.turn, ticket.until_ms, asks, names, ticket.since_ms)

    def drop_ticket(self, hold_id: str) -> None:
        self._run("drop_ticket", hold_id)

    def drop_tickets(self, until_ms: int) -> None:
        self._run("drop_tickets", until_ms)

    def _run(self, verb: str, *values: str | int | None) -> sqlite3.Cursor:
        return self.connection.execute(self._sql[verb], values)

    def _run_many(self, verb: str, rows: Sequence[tuple[str | int | None, ...]]) -> None:
        self.connection.executemany(self._sql[verb], rows)

    def _one(self, verb: str, *values: str | int | None) -> tuple[Any, ...]:
        row: tuple[Any, ...] = self.connection.execute(self._sql[verb], values).fetchone()
        return row


class GroupStore(SqliteStore):
    """The store of several works in one transaction: accounts and the clock are read once for all of them, and written by `flush`."""

    def __init__(self, store: SqliteStore) -> None:
        self.connection, self._sql, self._read_accounts = store.connection, store._sql, store._read_accounts  # noqa: SLF001  a store of the same room
        self._rows: dict[str, AccountRow] = {}
        self._changed: dict[str, AccountRow] = {}
        self._clock: Clock | None = None
        self._clock_changed = False

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


def _pack(charges: Sequence[Charge]) -> str:
    return orjson.dumps([(charge.account, charge.amount, charge.cap, charge.window_ms) for charge in charges]).decode()


def _unpack(charges: str) -> tuple[Charge, ...]:
    return tuple(Charge(*parts) for parts in orjson.loads(charges))
