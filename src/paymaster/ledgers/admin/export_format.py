"""A ledger as lines of JSON: what each line holds, their order, and what makes one invalid; knows no ledger and no file.

    {"paymaster_ledger": 4, "clock_ms": …, "retire_days": 35}                           first; an archive's has "archive": true
    {"account": "usd/run/a", "settled": …, "live": …, "held": …}                        by name
    {"retired": "usd/day/2026-01-31", "settled": …}                                     accounts that have left the ledger, by name
    {"opening": "usd/run/a", "amount": …}                                               what records that were archived had charged
    {"hold": "…", "at_ms": …, "lease_until_ms": …, "charges": […], "lost_record": "…"}  by lease
    {"entry": "requests/m", "until_ms": …, "owner": "…", "amount": …}                   by account and time; a post has the owner ""
    {"record": "…", "at_ms": …, "lost": false, "amounts": {…}, "body": "…"}             in the order of the journal
    {"end": {"account": …, …}, "sha256": "…"}                                           last: how many of each, and a digest of all before

Amounts are in their account's unit, money in nano-dollars. The queue is left out: a caller that waits asks again.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

import orjson

from paymaster.accounting.accounts import Charge, Record
from paymaster.jsontypes import JsonObject
from paymaster.ledgers.retirement import MOST_DAYS, RETIRE_DAYS
from paymaster.ledgers.store import OpenHold

FORMAT, OLDEST_FORMAT = 4, 1
ORDER = ("paymaster_ledger", "account", "retired", "opening", "hold", "entry", "record", "end")
_KINDS = ORDER[1:-1]
_KINDS_SINCE: Mapping[str, int] = {"retired": 4}
_LARGEST = 2**63 - 1


class ExportHead(NamedTuple):
    """The first line: the ledger's own time, whether the lines are an archive, which has only records, and their format.

    A budget leaves the ledger `retire_days` after its period.
    """

    clock_ms: int
    is_archive: bool = False
    format: int = FORMAT
    retire_days: int = RETIRE_DAYS


class AccountSums(NamedTuple):
    """The sums of an account."""

    account: str
    settled: int
    live: int
    held: int


class RetiredAccount(NamedTuple):
    """An account that has left the ledger, and what was settled on it."""

    account: str
    settled: int


class OpeningBalance(NamedTuple):
    """What the records that are no longer in the journal had charged to an account."""

    account: str
    amount: int


class WindowEntry(NamedTuple):
    """What a hold, or a post (`owner` is then empty), has in an account's window."""

    account: str
    until_ms: int
    owner: str
    amount: int


Item: TypeAlias = ExportHead | AccountSums | RetiredAccount | OpeningBalance | OpenHold | WindowEntry | Record


class InvalidExport(ValueError):
    """Lines that no ledger can be made from. `number` is that of the line, from 1; 0 is the end of the file."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(number, reason)
        self.number = number
        self.reason = reason

    def __str__(self) -> str:
        """The reason."""
        return self.reason


def write_lines(items: Iterable[Item]) -> Iterator[bytes]:
    """Each item as its line, then the last line."""
    digest, counts = hashlib.sha256(), dict.fromkeys(_KINDS, 0)
    for item in items:
        line = _pack(item)
        digest.update(line)
        kind = _kind(item)
        if kind in counts:
            counts[kind] += 1
        yield line
    yield orjson.dumps({"end": counts, "sha256": digest.hexdigest()}) + b"\n"


def read_lines(lines: Iterable[bytes]) -> Iterator[Item]:
    """The items, one by one. Raises InvalidExport at the first line that is invalid, and if the last one is missing."""
    digest, counts = hashlib.sha256(), dict.fromkeys(_KINDS, 0)
    last_rank = number = last_record_ms = 0
    version = FORMAT
    seen: set[tuple[str, ...]] = set()
    for number, line in enumerate(lines, start=1):
        kind, data = _parse(line, number)
        rank = ORDER.index(kind)
        if number == 1 and kind != ORDER[0]:
            raise InvalidExport(1, "the first line is not that of a ledger's export")
        if rank < last_rank or (number > 1 and rank == 0) or last_rank == len(ORDER) - 1:
            raise InvalidExport(number, f"a line of kind {kind!r} can't follow one of kind {ORDER[last_rank]!r}")
        last_rank = rank
        if kind == "end":
            _check_end(
                data, {name: count for name, count in counts.items() if _KINDS_SINCE.get(name, 0) <= version}, digest.hexdigest(), number
            )
            continue
        digest.update(line)
        try:
            item = _READERS[kind](data)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidExport(number, _reason(error)) from error
        if isinstance(item, ExportHead):
            version = item.format
        elif isinstance(item, RetiredAccount) and ("account", item.account) in seen:
            raise InvalidExport(number, f"the account {item.account!r} has left the ledger, but an earlier line has it as well")
        if isinstance(item, Record):  # of these there are too many to remember: the last line counts them
            if item.at_ms < last_record_ms:
                raise InvalidExport(number, "the records are not in the order of their time")
            last_record_ms = item.at_ms
        elif (identity := (kind, *map(str, item[:3] if isinstance(item, WindowEntry) else item[:1]))) in seen:
            raise InvalidExport(number, "it is a duplicate of an earlier line")
        else:
            seen.add(identity)
        if kind in counts:
            counts[kind] += 1
        yield item
    if last_rank != len(ORDER) - 1:
        raise InvalidExport(0, f"it ends after line {number:,} without its last line: it was cut off")


def _parse(line: bytes, number: int) -> tuple[str, JsonObject]:
    try:
        data = orjson.loads(line)
    except ValueError as error:
        cut = "" if line.endswith(b"\n") else "; the file may have been cut off there"
        raise InvalidExport(number, f"it is not JSON{cut}") from error
    kind = next((name for name in ORDER if isinstance(data, dict) and name in data), None)
    if kind is None:
        raise InvalidExport(number, f"it is no line of a ledger's export (known: {', '.join(ORDER)})")
    return kind, data


def _check_end(data: JsonObject, counts: Mapping[str, int], digest: str, number: int) -> None:
    if data.get("end") != dict(counts):
        raise InvalidExport(number, f"lines are missing or doubled: the last line counts {data.get('end')}, the file has {dict(counts)}")
    if data.get("sha256") != digest:
        raise InvalidExport(number, "the lines before it were changed after the export (their digest differs)")


def _kind(item: Item) -> str:
    match item:
        case ExportHead():
            return "paymaster_ledger"
        case AccountSums():
            return "account"
        case RetiredAccount():
            return "retired"
        case OpeningBalance():
            return "opening"
        case OpenHold():
            return "hold"
        case WindowEntry():
            return "entry"
        case Record():
            return "record"


def _pack(item: Item) -> bytes:
    line: dict[str, object]
    match item:
        case ExportHead(clock_ms, is_archive, _, retire_days):
            line = {"paymaster_ledger": FORMAT, "clock_ms": clock_ms}
            line |= {"archive": True} if is_archive else {"retire_days": retire_days}
        case AccountSums(account, settled, live, held):
            line = {"account": account, "settled": settled, "live": live, "held": held}
        case RetiredAccount(account, settled):
            line = {"retired": account, "settled": settled}
        case OpeningBalance(account, amount):
            line = {"opening": account, "amount": amount}
        case OpenHold(hold_id, at_ms, lease_until_ms, charges, lost_record):
            packed = [(charge.account, charge.amount, charge.cap, charge.window_ms) for charge in charges]
            line = {"hold": hold_id, "at_ms": at_ms, "lease_until_ms": lease_until_ms, "charges": packed, "lost_record": lost_record}
        case WindowEntry(account, until_ms, owner, amount):
            line = {"entry": account, "until_ms": until_ms, "owner": owner, "amount": amount}
        case Record():
            line = {"record": item.hold_id, "at_ms": item.at_ms, "lost": item.lost, "amounts": item.amounts, "body": item.body}
    return orjson.dumps(line) + b"\n"


def _read_head(data: JsonObject) -> ExportHead:
    version = _whole(data, "paymaster_ledger")
    if version > FORMAT:
        raise ValueError(f"it was exported by a later Paymaster (format {version}; this one knows {FORMAT})")
    if version < OLDEST_FORMAT:
        raise ValueError(f"there is no format {version}")
    retire_days = _whole(data, "retire_days", least=0) if "retire_days" in data else RETIRE_DAYS
    if retire_days > MOST_DAYS:
        raise ValueError(f"'retire_days' is at most {MOST_DAYS:,}")
    return ExportHead(_whole(data, "clock_ms"), data.get("archive") is True, version, retire_days)


def _read_hold(data: JsonObject) -> OpenHold:
    charges = data["charges"]
    if not isinstance(charges, list):
        raise TypeError("charges is a list")
    at_ms, lease_until_ms = _whole(data, "at_ms"), _whole(data, "lease_until_ms")
    return OpenHold(_text(data, "hold"), at_ms, lease_until_ms, tuple(map(_read_charge, charges)), _text(data, "lost_record"))


def _read_charge(parts: object) -> Charge:
    if not isinstance(parts, list) or len(parts) != 4 or not isinstance(parts[0], str):
        raise TypeError("a charge is an account, an amount, a cap and a window")
    amount, cap, window_ms = parts[1:]
    if not isinstance(amount, int) or not all(each is None or isinstance(each, int) for each in (cap, window_ms)):
        raise TypeError("an amount, a cap and a window are whole numbers")
    return Charge(parts[0], amount, cap, window_ms)


def _read_record(data: JsonObject) -> Record:
    amounts, lost = data["amounts"], data["lost"]
    if not isinstance(amounts, dict) or not isinstance(lost, bool):
        raise TypeError("lost is true or false, and amounts an object")
    read = {account: _whole(amounts, account) for account in amounts}
    return Record(_text(data, "record"), _whole(data, "at_ms", least=1), lost, read, _text(data, "body"))


_READERS: Mapping[str, Callable[[JsonObject], Item]] = {
    "paymaster_ledger": _read_head,
    "account": lambda data: AccountSums(_text(data, "account"), _whole(data, "settled"), _whole(data, "live"), _whole(data, "held")),
    "retired": lambda data: RetiredAccount(_text(data, "retired"), _whole(data, "settled")),
    "opening": lambda data: OpeningBalance(_text(data, "opening"), _whole(data, "amount")),
    "hold": _read_hold,
    "entry": lambda data: WindowEntry(_text(data, "entry"), _whole(data, "until_ms"), _text(data, "owner"), _whole(data, "amount")),
    "record": _read_record,
}


def _whole(data: Mapping[str, object], key: str, *, least: int = -_LARGEST) -> int:
    value = data[key]
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _LARGEST:
        raise TypeError(f"{key!r} is a whole number")
    return value


def _text(data: Mapping[str, object], key: str) -> str:
    value = data[key]
    if not isinstance(value, str):
        raise TypeError(f"{key!r} is a text")
    return value


def _reason(error: KeyError | TypeError | ValueError) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)
