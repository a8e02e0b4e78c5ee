"""A ledger on Redis as its keeper sees it: all of it at once, and its journal from the oldest record on; decides nothing."""

import random
import re
from collections.abc import Iterable, Iterator, Mapping
from struct import unpack

import orjson

from paymaster.accounting.accounts import Charge, Record
from paymaster.errors import LedgerUnavailable, LedgerUnusable
from paymaster.ledgers.admin.export_format import Head, Item, Opening, Sums, Windowed
from paymaster.ledgers.admin.protocol import Description, Place, not_empty
from paymaster.ledgers.redis.connections import Argument, Reply, ThreadWire
from paymaster.ledgers.redis.ledger import LARGEST_FIGURE, SCHEMA_VERSION, RedisLedger, too_large
from paymaster.ledgers.redis.messages import (
    bytes_of,
    figures,
    list_of,
    next_position,
    pack_charges,
    read_charges,
    read_journal,
    split_reply,
)
from paymaster.ledgers.redis.settings import ask_settings, settings_warnings
from paymaster.ledgers.store import OpenHold
from paymaster.runtime import run

# So much goes over the wire at once: the server does nothing else meanwhile, so it is a matter of milliseconds.
RECORDS_AT_ONCE, DROPPED_AT_ONCE = 500, 400
PART_ITEMS, PART_BYTES = 500, 250_000
_MEMBER = re.compile(r"(-?\d+)([:@])(.*)", re.DOTALL)


class RedisAdmin:
    """`LedgerAdmin` of a ledger whose callers are threads."""

    def __init__(self, ledger: RedisLedger) -> None:
        self._ledger = ledger
        self._key = ledger.address.state_key

    def make(self) -> bool:
        """Make the ledger, unless it is there."""
        return self._ask("make")[0] == "MADE"

    def describe(self) -> Description:
        """What it is and how much is in it."""
        _, rest = self._ask("describe")
        clock_ms, accounts, holds, records, oldest_ms, newest_ms, journal_bytes, rest_bytes = figures(rest)
        address = self._ledger.address
        wire = ThreadWire(address, address.patience_ms / 2_000)
        try:
            settings = ask_settings(run(self._ledger.ask("server")), wire, self._key)
        finally:
            run(wire.close())
        return Description(
            kind="Redis",
            place=address.place,
            version=SCHEMA_VERSION,
            newest_version=SCHEMA_VERSION,
            size_bytes=journal_bytes + rest_bytes,
            journal_bytes=journal_bytes,
            clock_ms=clock_ms,
            accounts=accounts,
            open_holds=holds,
            records=records,
            oldest_ms=oldest_ms or None,
            newest_ms=newest_ms or None,
            settings=settings.shown(),
            warnings=settings_warnings(settings, address),
        )

    def migrate(self) -> tuple[int, int]:
        """The scripts refuse every other version, so there is nothing to do where they answer."""
        self._ask("describe")
        return SCHEMA_VERSION, SCHEMA_VERSION

    def snapshot(self) -> Iterator[Item]:
        """All of it as it stood when the reading began; the journal is read in parts, up to where it ended then."""
        head, last, accounts, windows, holds, openings = list_of(run(self._ledger.ask("snapshot")))
        clock_ms, records = figures(bytes_of(head).partition(b" ")[2])
        yield Head(clock_ms)
        yield from sorted(_read_sums(name, text) for name, text in _pairs(accounts))
        yield from sorted(Opening(name.decode(), int(amount)) for name, amount in _pairs(openings))
        yield from sorted(
            (_read_hold(name.decode(), text) for name, text in _pairs(holds)), key=lambda hold: (hold.lease_until_ms, hold.id)
        )
        yield from _read_windows(windows)
        read = 0
        for _, record in self._journal(bytes_of(last).decode()):
            read += 1
            yield record
        if read != records:
            raise LedgerUnavailable(
                f"The journal of {self._ledger.place} was changed while it was read: {records:,} records became {read:,}.",
                advice="A lost call was settled after all, or old records were dropped just then. Try again.",
            )

    def load(self, items: Iterable[Item]) -> None:
        """Fill an empty ledger part by part; its callers are refused until the last part is in."""
        token, parts, clock_ms = random.getrandbits(50), 0, 0
        word, rest = self._ask("import_begin", token)
        if word == "FULL":
            raise not_empty(self._ledger.place, *figures(rest))
        try:
            part: list[list[str | int]] = []
            size = 0
            for item in items:
                if isinstance(item, Head):
                    clock_ms = item.clock_ms
                    continue
                part.append(_pack_item(item))
                size += sum(len(each) for each in part[-1] if isinstance(each, str))
                if len(part) == PART_ITEMS or size > PART_BYTES:
                    parts += 1
                    self._import("import_put", token, parts, orjson.dumps(part))
                    part, size = [], 0
            self._import("import_put", token, parts + 1, orjson.dumps(part))
            self._import("import_end", token, clock_ms)
        except LedgerUnavailable:
            raise  # the server is away, and what is there is no ledger until an import comes to its end
        except BaseException:
            self._ask("import_drop", token)
            raise

    def _import(self, verb: str, token: int, *arguments: Argument) -> None:
        if self._ask(verb, token, *arguments)[0] == "TAKEN":
            raise LedgerUnusable(
                f"Another import into {self._ledger.place} has begun meanwhile, and this one gave way.",
                advice="Look with `paymaster ledger status` when that one has ended.",
            )

    def openings(self) -> Mapping[str, int]:
        """What the records that are no longer in the journal had charged."""
        _, told = list_of(run(self._ledger.ask("openings")))
        return {name.decode(): int(amount) for name, amount in _pairs(told)}

    def oldest_records(self, before_ms: int, count: int) -> list[tuple[Place, Record]]:
        """The first records of the journal."""
        found: list[tuple[Place, Record]] = []
        if before_ms > 0:
            for place, record in self._journal(str(before_ms - 1)):
                at_ms, _, number = place.decode().partition("-")
                found.append((Place(int(at_ms), int(number)), record))
                if len(found) == count:
                    break
        return found

    def _journal(self, last: str) -> Iterator[tuple[bytes, Record]]:
        """The journal from its beginning up to that place."""
        place = "-"
        while True:
            page, _ = read_journal(run(self._ledger.ask("records", place, last, RECORDS_AT_ONCE)))
            yield from page
            if len(page) < RECORDS_AT_ONCE:
                return
            place = next_position(page[-1][0])

    def drop_records(self, until: Place) -> int:
        """Take records out of the journal, some with each script, each with what they charged."""
        dropped = 0
        while some := figures(self._ask("drop", f"{until.at_ms}-{until.number}", DROPPED_AT_ONCE)[1])[0]:
            dropped += some
        return dropped

    def close(self) -> None:
        """The connections are the ledger's."""

    def _ask(self, verb: str, *arguments: Argument) -> tuple[str, bytes]:
        word, rest, _ = split_reply(run(self._ledger.ask(verb, *arguments)))
        return word, rest


def _pack_item(item: Item) -> list[str | int]:
    """An item as `import_put` reads it. Raises LedgerUnusable for figures that a script can't count."""
    match item:
        case Sums():
            _check(item.account, item.settled, item.live, item.held)
            return ["account", *item]
        case Opening():
            _check(item.account, item.amount)
            return ["opening", *item]
        case OpenHold():
            for charge in item.charges:
                _check(charge.account, charge.amount, charge.cap or 0)
            return ["hold", item.id, item.at_ms, item.lease_until_ms, pack_charges(item.charges).decode(), item.lost_record]
        case Windowed():
            _check(item.account, item.amount)
            return ["entry", *item]
        case Record():
            charged = item.amounts
            for account, amount in charged.items():
                _check(account, amount)
            # The record of a lost hold stands in the journal with its charges.
            packed = pack_charges([Charge(*each, None) for each in charged.items()]) if item.lost else orjson.dumps(charged)
            return ["record", item.hold_id, item.at_ms, "1" if item.lost else "0", packed.decode(), item.body]
        case Head():
            raise TypeError("the first line is kept for the end")


def _check(account: str, *amounts: int) -> None:
    if any(abs(amount) > LARGEST_FIGURE for amount in amounts):
        raise too_large(account)


def _pairs(reply: Reply) -> Iterator[tuple[bytes, bytes]]:
    """A hash as it is answered."""
    flat = [bytes_of(each) for each in list_of(reply)]
    return zip(flat[::2], flat[1::2], strict=True)


def _read_sums(name: bytes, text: bytes) -> Sums:
    settled, live, held, _ = map(int, unpack("<dddd", text))
    return Sums(name.decode(), settled, live, held)


def _read_hold(hold_id: str, text: bytes) -> OpenHold:
    at_ms, lease_until_ms, length = map(int, unpack("<ddd", text[:24]))
    charges = tuple(read_charges(orjson.loads(text[24 : 24 + length])))
    return OpenHold(hold_id, at_ms, lease_until_ms, charges, text[24 + length :].decode())


def _read_windows(reply: Reply) -> Iterator[Windowed]:
    """The entries by account and time; what was posted and ends at one moment is one entry, as it is elsewhere."""
    found: dict[tuple[str, int, str], int] = {}
    parts = list_of(reply)
    for name, entries in zip(parts[::2], parts[1::2], strict=True):
        for member, until_ms in _pairs(entries):
            amount, owner = _read_member(member)
            key = (bytes_of(name).decode(), int(float(until_ms)), owner)
            found[key] = found.get(key, 0) + amount
    for (account, until, owner), amount in sorted(found.items()):
        if amount:
            yield Windowed(account, until, owner, amount)


def _read_member(member: bytes) -> tuple[int, str]:
    """`amount:hold`, or `amount@serial` of a post, whose owner is nobody."""
    found = _MEMBER.fullmatch(member.decode())
    if found is None:
        raise TypeError(f"a window has an entry {member!r}")
    return int(found[1]), found[3] if found[2] == ":" else ""
