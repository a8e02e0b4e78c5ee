"""The lines of a spool file: an unbooked hold, a settlement, what a file is for, how far it was posted; knows no file and no ledger."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, TypeAlias

import orjson

from paymaster.accounting.accounts import Charge, Hold, Settlement

CUT = b"#cut\n"
"""Ends a line that the disk took in part, so that it is known for what it is: nothing was done because of it."""

TICK_LINES = 50
"""After so many lines that come to nothing the reader gets None, and can pause."""

_POSTED_TO = "posted_to"
_NOT_READ = (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError, IndexError)


class Unreadable(NamedTuple):
    """A line that can't be read, and why."""

    text: bytes
    reason: str


class Waiting(NamedTuple):
    """What a line holds: a settlement, or the full amount of an unbooked hold."""

    settlement: Settlement
    is_settled: bool


Found: TypeAlias = Settlement | Unreadable | None


def hold_line(hold: Hold, at_ms: int) -> dict[str, object]:
    """The line of a hold that no ledger has."""
    return {"hold": _packed(hold), "at_ms": at_ms, "lost_record": hold.lost_record}


def settlement_line(settlement: Settlement) -> dict[str, object]:
    """The line of a settlement. Its posts, such as a pause, are left out: they would be over by then."""
    return {
        "hold": _packed(settlement.hold),
        "at_ms": settlement.held_at_ms,
        "amounts": settlement.amounts,
        "record": settlement.record,
    }


def progress_line(offset: int) -> bytes:
    """The line that says up to which byte a file was posted."""
    return orjson.dumps({_POSTED_TO: offset}) + b"\n"


def read_line(text: bytes) -> Waiting | Unreadable | None:
    """What one line holds; None if nothing of it waits."""
    if text.endswith(CUT) or not text.strip():
        return None
    try:
        line = orjson.loads(text)
        if "hold" not in line:
            return None if not line or "ledger" in line or _POSTED_TO in line else Unreadable(text, "it names no hold")
        hold, at_ms, is_settled = _unpacked(line["hold"]), line["at_ms"], "record" in line
        amounts = line["amounts"] if is_settled else [charge.amount for charge in hold.charges]
        record = line["record"] if is_settled else line["lost_record"]
        if type(record) is not str or any(type(figure) is not int for figure in (at_ms, hold.lease_ms, *amounts)):
            return Unreadable(text, "it has no figure where one belongs")
    except _NOT_READ as error:
        # A line without its end was cut by a crash: nothing was done because of it.
        return Unreadable(text, f"{type(error).__name__}: {error}") if text.endswith(b"\n") else None
    return Waiting(Settlement(hold, at_ms, tuple(amounts), record), is_settled)


def settlements(lines: Iterable[bytes], posted_to: int = 0) -> Iterator[Found]:
    """What a dead process's lines come to: each settlement, then each hold without one, in full.

    What ends up to the byte `posted_to` was posted or set aside before. None now and then, see `TICK_LINES`.
    """
    unsettled: dict[str, Settlement] = {}
    offset = quiet = 0
    for text in lines:
        offset += len(text)
        found, is_new = read_line(text), offset > posted_to
        quiet += 1
        if isinstance(found, Waiting) and not found.is_settled:
            unsettled[found.settlement.hold.id] = found.settlement
        elif isinstance(found, Waiting):
            unsettled.pop(found.settlement.hold.id, None)
            if is_new:
                quiet = 0
                yield found.settlement
        elif found is not None and is_new:
            quiet = 0
            yield found
        if quiet >= TICK_LINES:
            quiet = 0
            yield None
    yield from unsettled.values()


def posted_up_to(tail: bytes) -> int:
    """The byte up to which a file was posted, by its last line; 0 if nothing was."""
    last = tail.rstrip(b"\n").rpartition(b"\n")[2]
    if not last.startswith(b'{"posted_to"'):
        return 0
    try:
        return int(orjson.loads(last)[_POSTED_TO])
    except _NOT_READ:
        return 0


def _packed(hold: Hold) -> Sequence[object]:
    return hold.id, hold.lease_ms, [(charge.account, charge.amount, charge.cap, charge.window_ms) for charge in hold.charges]


def _unpacked(packed: tuple[str, int, Sequence[tuple[str, int, int | None, int | None]]]) -> Hold:
    hold_id, lease_ms, charges = packed
    if type(hold_id) is not str:
        raise TypeError("the id of its hold is no text")
    return Hold(hold_id, tuple(Charge(*parts) for parts in charges), lease_ms)
