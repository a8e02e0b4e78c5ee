"""What the scripts are told and what they answer, in figures and words; knows neither connections nor the rule."""

from collections.abc import Iterable, Iterator, Sequence
from struct import unpack
from typing import Any

import orjson

from paymaster.accounting.accounts import (
    Balance,
    Change,
    Charge,
    Held,
    Hold,
    Lost,
    Queued,
    Record,
    Refused,
    Settlement,
    Waiters,
    recorded_amounts,
    shortfalls,
)
from paymaster.ledgers.redis.connections import Reply


def pack_charges(charges: Sequence[Charge]) -> bytes:
    """The charges as the scripts read and store them: all accounts, all amounts, all caps (-1: none), all windows (-1: for good)."""
    parts: list[str | int] = [charge.account for charge in charges]
    parts += [charge.amount for charge in charges]
    parts += [-1 if charge.cap is None else charge.cap for charge in charges]
    parts += [-1 if charge.window_ms is None else charge.window_ms for charge in charges]
    return orjson.dumps(parts)


def pack_charged(settlement: Settlement) -> bytes:
    """What a record says was charged."""
    return orjson.dumps(recorded_amounts(settlement.hold.charges, settlement.amounts, settlement.posts))


def pack_queue(queue_for_ms: int, waiters: Waiters | None) -> int | bytes:
    """How long to keep a place in line, and who waits there."""
    return queue_for_ms if waiters is None else b"%d %b" % (queue_for_ms, orjson.dumps((waiters.names, waiters.waited_ms)))


def split_reply(reply: Reply) -> tuple[str, bytes, tuple[Lost, ...]]:
    """The word an answer begins with, what follows it (`figures` reads it), and what was lost."""
    head, told = (reply[0], reply[1:]) if isinstance(reply, list) else (reply, ())
    word, _, rest = bytes_of(head).partition(b" ")
    return word.decode(), rest, tuple(_read_lost(list_of(item)) for item in told)


def figures(packed: bytes) -> list[int]:
    """The whole numbers of an answer."""
    return list(map(int, unpack(f"<{len(packed) // 8}d", packed)))


def read_held(hold: Hold, rest: bytes, lost: tuple[Lost, ...]) -> Held:
    """An admission."""
    at_ms, lease_until_ms, *sums = figures(rest)
    four = zip(sums[::4], sums[1::4], sums[2::4], sums[3::4], strict=True)
    return Held(hold.id, at_ms, lease_until_ms, tuple(Balance(*each) for each in four), lost)


def read_refused(hold: Hold, rest: bytes, lost: tuple[Lost, ...]) -> Refused:
    """A refusal: for each charge that did not fit its balance, and what must leave its window."""
    numbers = iter(figures(rest))
    at_ms = next(numbers)
    charges: list[Charge] = []
    balances: list[Balance] = []
    for number in numbers:
        settled, live, held, ahead, count = (next(numbers) for _ in range(5))
        charges.append(hold.charges[number])
        balances.append(Balance(settled, live, held, ahead, tuple((next(numbers), next(numbers)) for _ in range(count))))
    return Refused(hold.id, at_ms, shortfalls(charges, balances), lost)


def read_changes(accounts: Iterable[str], sums: Sequence[int]) -> tuple[Change, ...]:
    """Before and after, for each account in turn."""
    return tuple(map(Change, accounts, sums[::2], sums[1::2]))


def read_balances(reply: Reply) -> dict[str, Balance]:
    """Every account with what leaves its window and when."""
    return dict(_read_balances([bytes_of(item) for item in list_of(reply)[1:]]))


def _read_balances(items: Sequence[bytes]) -> Iterator[tuple[str, Balance]]:
    for at in range(0, len(items), 2):
        settled, live, held, ahead, *leaves = figures(items[at + 1])
        yield items[at].decode(), Balance(settled, live, held, ahead, tuple(zip(leaves[::2], leaves[1::2], strict=True)))


def read_waiting(reply: Reply) -> tuple[Queued, ...]:
    """The line."""
    items = [bytes_of(item) for item in list_of(reply)[1:]]
    return tuple(
        Queued(items[at].decode(), tuple(orjson.loads(items[at + 3])), orjson.loads(items[at + 2]), int(items[at + 1]))
        for at in range(0, len(items), 4)
    )


def read_journal(reply: Reply) -> tuple[list[tuple[bytes, Record]], str]:
    """A part of the journal, each record with its place; and the place that the reading ends at."""
    _, last, entries = list_of(reply)
    return [_read_entry(list_of(entry)) for entry in list_of(entries)], bytes_of(last).decode()


def next_position(place: bytes) -> str:
    """The first place in the journal after this one."""
    at_ms, _, number = place.partition(b"-")
    return f"{int(at_ms)}-{int(number) + 1}"


def _read_entry(entry: "list[Reply]") -> tuple[bytes, Record]:
    place, parts = bytes_of(entry[0]), [bytes_of(part) for part in list_of(entry[1])]
    values = dict(zip(parts[::2], parts[1::2], strict=True))
    lost = values[b"lost"] == b"1"
    amounts = orjson.loads(values[b"amounts"])
    if lost:  # the charges stand there as the hold brought them
        amounts = {charge.account: charge.amount for charge in read_charges(amounts) if charge.amount and charge.window_ms != 0}
    at_ms = int(place.partition(b"-")[0])
    return place, Record(values[b"hold"].decode(), at_ms, lost, amounts, values[b"body"].decode())


def _read_lost(parts: "list[Reply]") -> Lost:
    hold_id, packed, record, sums = map(bytes_of, parts)
    charges = tuple(read_charges(orjson.loads(packed)))
    at_ms, *changed = figures(sums)
    return Lost(hold_id.decode(), at_ms, charges, record.decode(), read_changes((charge.account for charge in charges), changed))


def read_charges(parts: Sequence[Any]) -> Iterator[Charge]:
    """What `pack_charges` wrote."""
    count = len(parts) // 4
    for account, amount, cap, window_ms in zip(*(parts[at * count : (at + 1) * count] for at in range(4)), strict=True):
        yield Charge(account, amount, None if cap < 0 else cap, None if window_ms < 0 else window_ms)


def bytes_of(reply: Reply) -> bytes:
    """A text of an answer. Raises TypeError."""
    if not isinstance(reply, bytes):
        raise TypeError(f"a script answered {reply!r} where text was expected")
    return reply


def list_of(reply: Reply) -> "list[Reply]":
    """A list of an answer. Raises TypeError."""
    if not isinstance(reply, list):
        raise TypeError(f"a script answered {reply!r} where a list was expected")
    return reply
