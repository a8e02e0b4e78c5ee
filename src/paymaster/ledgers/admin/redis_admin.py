"""A ledger on Redis as an operator sees it: all of it at once, and its journal from the oldest record on; knows no rule of accounts."""

import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import orjson

from paymaster.accounting.accounts import Charge, Record
from paymaster.errors import LedgerUnavailable, LedgerUnusable
from paymaster.ledgers.account_views import PAGE
from paymaster.ledgers.admin.export_format import AccountSums, ExportHead, Item, OpeningBalance, RetiredAccount, WindowEntry
from paymaster.ledgers.admin.ledger_admin import JournalPosition, LedgerDescription, LedgerIdentity, not_empty
from paymaster.ledgers.identity import new_id
from paymaster.ledgers.redis.connections import Reply, ThreadConnections
from paymaster.ledgers.redis.damage import DamagedValue, reading
from paymaster.ledgers.redis.figures import LARGEST_FIGURE, too_large
from paymaster.ledgers.redis.ledger import SCHEMA_VERSION, RedisLedger
from paymaster.ledgers.redis.messages import (
    ScriptRequest,
    bytes_of,
    figures,
    int_of,
    list_of,
    next_position,
    pack_charges,
    pairs_of,
    read_hold,
    read_journal,
    read_row,
    split_reply,
    text_of,
)
from paymaster.ledgers.redis.reading import read_hash
from paymaster.ledgers.redis.settings import ask_settings, settings_warnings
from paymaster.ledgers.store import OpenHold
from paymaster.runtime import run

# So much goes over the wire at once: the server does nothing else meanwhile, so it is a matter of milliseconds.
RECORDS_AT_ONCE, DROPPED_AT_ONCE, OPENINGS_AT_ONCE = 500, 400, 1000
PART_ITEMS, PART_BYTES = 500, 250_000
Row = TypeVar("Row")
_MEMBER = re.compile(r"(-?\d+)([:@])(.*)", re.DOTALL)


class RedisAdmin:
    """`LedgerAdmin` of a ledger whose callers are threads."""

    def __init__(self, ledger: RedisLedger) -> None:
        self._ledger = ledger
        self._key = ledger.address.state_key

    def make(self) -> bool:
        """Make the ledger, if there is none."""
        return run(self._ledger.make())

    def describe(self) -> LedgerDescription:
        """What it is and how much is in it."""
        packed, ledger_id, window_bytes = self._described()
        clock_ms, accounts, holds, records, oldest_ms, newest_ms, journal_bytes, other_bytes, *retirement = figures(packed)
        address = self._ledger.address
        connections = ThreadConnections(address, address.patience_ms / 2_000)
        try:
            settings = ask_settings(run(self._ledger.ask("server")), connections, self._key)
        finally:
            run(connections.close())
        return LedgerDescription(
            kind="Redis",
            location=address.location,
            id=ledger_id,
            version=SCHEMA_VERSION,
            newest_version=SCHEMA_VERSION,
            size_bytes=journal_bytes + other_bytes + window_bytes,
            journal_bytes=journal_bytes,
            clock_ms=clock_ms,
            accounts=accounts,
            open_holds=holds,
            records=records,
            oldest_ms=oldest_ms or None,
            newest_ms=newest_ms or None,
            retired=retirement[0],
            retire_days=retirement[1],
            settings=settings.shown(),
            warnings=settings_warnings(settings, address),
        )

    def _described(self) -> tuple[bytes, str, int]:
        """The figures of the ledger, its id, and the memory of all windows."""
        cursor, window_bytes = "0", 0
        while True:
            reply = run(self._ledger.ask("describe", {"cursor": cursor, "count": PAGE}))
            _, after, some_bytes, packed, ledger_id = list_of(reply)
            window_bytes += int_of(some_bytes)
            cursor = bytes_of(after).decode()
            if cursor == "0":
                return bytes_of(packed), bytes_of(ledger_id).decode(), window_bytes

    def identify(self) -> LedgerIdentity:
        """Which ledger it is."""
        _, detail = self._ask("identify")
        last_record_ms, _, ledger_id = detail.decode().partition(" ")
        return LedgerIdentity(ledger_id, int(last_record_ms))

    def migrate(self) -> tuple[int, int]:
        """The scripts refuse every other version, so there is nothing to do if they answer."""
        self._ask("identify")
        return SCHEMA_VERSION, SCHEMA_VERSION

    def snapshot(self) -> Iterator[Item]:
        """All of it as it was when the reading began; the journal is read in parts, up to where it ended then."""
        head, last, accounts, windows, holds, opening, retired = list_of(run(self._ledger.ask("snapshot")))
        clock_ms, records, retire_days = figures(bytes_of(head).partition(b" ")[2])
        yield ExportHead(clock_ms, retire_days=retire_days)
        yield from sorted(self._read(_read_sums, _pairs(accounts)))
        yield from sorted(self._read(_read_retired, _pairs(retired)))
        yield from sorted(self._read(_read_opening, _pairs(opening)))
        yield from sorted(self._read(read_hold, _pairs(holds)), key=lambda hold: (hold.lease_until_ms, hold.id))
        with self._damage_explained():
            yield from _read_windows(windows)
        read = 0
        for _, record in self._journal(bytes_of(last).decode()):
            read += 1
            yield record
        if read != records:
            raise LedgerUnavailable(
                f"The journal of {self._ledger.location} was changed while it was read: {records:,} records became {read:,}.",
                advice="A lost call was settled after all, or old records were dropped just then. Try again.",
            )

    def load(self, items: Iterable[Item]) -> None:
        """Fill an empty ledger part by part; its callers are refused until the last part is in. It gets an id of its own."""
        token, ledger_id = random.getrandbits(50), new_id()
        word, detail = self._ask("import", {"step": "begin", "token": token, "new_id": ledger_id})
        if word == "FULL":
            raise not_empty(self._ledger.location, *figures(detail))
        parts = size = 0
        head = ExportHead(0)
        part: list[dict[str, object]] = []
        try:
            for item in items:
                if isinstance(item, ExportHead):
                    head = item
                    continue
                part.append(_pack_item(item))
                size += sum(len(value) for value in part[-1].values() if isinstance(value, str))
                if len(part) == PART_ITEMS or size > PART_BYTES:
                    parts += 1
                    self._import("put", token, {"part": parts, "items": part})
                    part, size = [], 0
            self._import("put", token, {"part": parts + 1, "items": part})
            self._import("end", token, {"clock_ms": head.clock_ms, "retire_days": head.retire_days})
        except LedgerUnavailable:
            raise  # what was put in is no ledger until an import ends
        except BaseException:
            self._ask("import", {"step": "drop", "token": token})
            raise
        self._ledger.replaced_by(ledger_id)

    def _import(self, step: str, token: int, fields: dict[str, object]) -> None:
        if self._ask("import", {"step": step, "token": token, **fields})[0] == "TAKEN":
            raise LedgerUnusable(
                f"Another import into {self._ledger.location} has begun meanwhile, so this one was stopped.",
                advice="When that one has ended, look with `paymaster ledger status`.",
            )

    def opening_balances(self) -> Mapping[str, int]:
        """What the records that are no longer in the journal had charged."""
        found: dict[str, int] = {}
        cursor = "0"
        while True:
            reply = run(self._ledger.ask("opening_balances", {"cursor": cursor, "count": OPENINGS_AT_ONCE}))
            cursor, pairs = read_hash(reply)
            found.update((each.account, each.amount) for each in self._read(_read_opening, pairs))
            if cursor == "0":
                return found

    def retired(self) -> dict[str, int]:
        """The accounts that have left the ledger, read in parts."""
        found, cursor = dict[str, int](), "0"
        while True:
            _, after, some = list_of(run(self._ledger.ask("retired", {"cursor": cursor})))
            found.update((each.account, each.settled) for each in self._read(_read_retired, _pairs(some)))
            cursor = bytes_of(after).decode()
            if cursor == "0":
                return found

    def set_retire_days(self, days: int) -> None:
        """How long budgets stay after their period ended."""
        self._ask("set_retire_days", {"days": days})

    def oldest_records(self, before_ms: int, count: int) -> list[tuple[JournalPosition, Record]]:
        """The first records of the journal."""
        found: list[tuple[JournalPosition, Record]] = []
        if before_ms > 0:
            for position, record in self._journal(str(before_ms - 1)):
                at_ms, _, number = position.partition("-")
                found.append((JournalPosition(int(at_ms), int(number)), record))
                if len(found) == count:
                    break
        return found

    def _journal(self, last: str) -> Iterator[tuple[str, Record]]:
        """The journal from its beginning up to that position."""
        first = "-"
        while True:
            reply = run(self._ledger.ask("records", {"first": first, "last": last, "count": RECORDS_AT_ONCE}))
            with self._damage_explained():
                page, _ = read_journal(reply)
            yield from page
            if len(page) < RECORDS_AT_ONCE:
                return
            first = next_position(page[-1][0])

    def drop_records(self, until: JournalPosition) -> int:
        """Take records out of the journal, some with each script, each with what they charged."""
        request, dropped = {"last": f"{until.at_ms}-{until.number}", "count": DROPPED_AT_ONCE}, 0
        while some := figures(self._ask("drop", request)[1])[0]:
            dropped += some
        return dropped

    def close(self) -> None:
        """The connections are the ledger's."""

    def _read(self, read: Callable[[bytes, bytes], Row], pairs: Iterable[tuple[bytes, bytes]]) -> list[Row]:
        """The fields of a hash. Raises LedgerUnusable for one that can't be read."""
        with self._damage_explained():
            return [read(name, text) for name, text in pairs]

    @contextmanager
    def _damage_explained(self) -> Iterator[None]:
        try:
            yield
        except DamagedValue as value:
            raise self._ledger.damaged(value) from value

    def _ask(self, verb: str, request: ScriptRequest | None = None) -> tuple[str, bytes]:
        word, detail, _ = split_reply(run(self._ledger.ask(verb, request)))
        return word, detail


def _pack_item(item: Item) -> dict[str, object]:
    """An item as `import` reads it. Raises LedgerUnusable for figures that a script can't count."""
    match item:
        case AccountSums():
            _check(item.account, item.settled, item.live, item.held)
            return {"kind": "account", **item._asdict()}
        case RetiredAccount():
            _check(item.account, item.settled)
            return {"kind": "retired", **item._asdict()}
        case OpeningBalance():
            _check(item.account, item.amount)
            return {"kind": "opening", **item._asdict()}
        case OpenHold():
            for charge in item.charges:
                _check(charge.account, charge.amount, charge.cap or 0)
            return {"kind": "hold", **item._asdict(), "charges": pack_charges(item.charges)}
        case WindowEntry():
            _check(item.account, item.amount)
            return {"kind": "entry", **item._asdict()}
        case Record():
            for account, amount in item.amounts.items():
                _check(account, amount)
            # The record of a lost hold has its charges in the journal.
            charges = pack_charges([Charge(*each, None) for each in item.amounts.items()])
            amounts = charges if item.lost else orjson.dumps(item.amounts).decode()
            lost = "1" if item.lost else "0"
            return {"kind": "record", "id": item.hold_id, "at_ms": item.at_ms, "lost": lost, "amounts": amounts, "body": item.body}
        case ExportHead():
            raise TypeError("the first line is kept for the end")


def _check(account: str, *amounts: int) -> None:
    if any(abs(amount) > LARGEST_FIGURE for amount in amounts):
        raise too_large(account)


def _pairs(reply: Reply) -> Iterator[tuple[bytes, bytes]]:
    """A hash, as it is answered."""
    return pairs_of([bytes_of(each) for each in list_of(reply)])


def _read_sums(name: bytes, packed: bytes) -> AccountSums:
    return AccountSums(*read_row(name, packed))


def _read_retired(name: bytes, text: bytes) -> RetiredAccount:
    account = text_of(name, "retired account")
    with reading("retired account", account):
        return RetiredAccount(account, int(text))


def _read_opening(name: bytes, text: bytes) -> OpeningBalance:
    account = text_of(name, "opening balance")
    with reading("opening balance", account):
        return OpeningBalance(account, int(text))


def _read_windows(reply: Reply) -> Iterator[WindowEntry]:
    """The entries by account and time. Posts that end at the same moment are one entry, as in other ledgers."""
    found: dict[tuple[str, int, str], int] = {}
    parts = list_of(reply)
    for name, entries in zip(parts[::2], parts[1::2], strict=True):
        for member, until_ms in _pairs(entries):
            account = text_of(bytes_of(name), "window")
            with reading("window", account):
                amount, owner = _read_member(member)
                key = (account, int(float(until_ms)), owner)
            found[key] = found.get(key, 0) + amount
    for (account, until, owner), amount in sorted(found.items()):
        if amount:
            yield WindowEntry(account, until, owner, amount)


def _read_member(member: bytes) -> tuple[int, str]:
    """The amount and the owner of `amount:hold`, or of a post's `amount@serial`, which has no owner."""
    found = _MEMBER.fullmatch(member.decode())
    if found is None:
        raise TypeError(f"a window has an entry {member!r}")
    return int(found[1]), found[3] if found[2] == ":" else ""
