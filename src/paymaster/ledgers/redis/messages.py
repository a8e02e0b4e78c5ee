"""The requests and the answers of the scripts, as JSON, packed figures and words; knows no connection and no rule."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from struct import unpack
from typing import Any, TypeAlias

import orjson

from paymaster.accounting.accounts import (
    Balance,
    Change,
    Charge,
    Held,
    Hold,
    Lost,
    Post,
    Record,
    Refused,
    Settlement,
    recorded_amounts,
    shortfalls,
)
from paymaster.ledgers.identity import process_name
from paymaster.ledgers.redis.connections import Reply
from paymaster.ledgers.redis.damage import reading
from paymaster.ledgers.store import OpenHold, Ticket

ScriptRequest: TypeAlias = Mapping[str, object]
"""The fields of a request; each script's first lines list them. One without a value is left out: it is never null."""


def reserve_request(hold: Hold, queue_for_ms: int, lease_ms: int | None = None) -> dict[str, object]:
    """The request of `reserve`, without the clock; `lease_ms` is the first lease (None: as long as the hold's)."""
    request: dict[str, object] = {
        "hold": hold.id,
        "lease_ms": hold.lease_ms if lease_ms is None else lease_ms,
        "charges": pack_charges(hold.charges),
        "process": process_name(),
        "lost_record": hold.lost_record,
        "queue_for_ms": queue_for_ms,
    }
    if hold.waiters is not None:
        request["waiters"] = {"names": hold.waiters.names, "waited_ms": hold.waiters.waited_ms}
    return request


def settle_request(settlement: Settlement, keep_ms: int | None) -> dict[str, object]:
    """The request of `settle`, without the clock and what the journal has of the hold."""
    hold = settlement.hold
    request: dict[str, object] = {
        "hold": hold.id,
        "held_at_ms": settlement.held_at_ms,
        "charges": pack_charges(hold.charges),
        "amounts": settlement.amounts,
        "charged": orjson.dumps(recorded_amounts(hold.charges, settlement.amounts, settlement.posts)).decode(),
        "record": settlement.record,
    }
    if settlement.posts:
        request["posts"] = posts_request(settlement.posts)
    if settlement.clears:
        request["clears"] = settlement.clears
    if keep_ms is not None:
        request["keep_ms"] = keep_ms
    return request


def changed_accounts(settlement: Settlement) -> list[str]:
    """The accounts of a settlement in the order of its changes."""
    return [*(charge.account for charge in settlement.hold.charges), *(post.account for post in settlement.posts), *settlement.clears]


def posts_request(posts: Sequence[Post]) -> list[dict[str, object]]:
    """Posts as a part of a request."""
    return [{"account": post.account, "amount": post.amount, "for_ms": post.for_ms} for post in posts]


def pack_charges(charges: Sequence[Charge]) -> str:
    """The charges as the scripts read and store them: all accounts, all amounts, all caps (-1: none), all windows (-1: for good)."""
    parts: list[str | int] = [charge.account for charge in charges]
    parts += [charge.amount for charge in charges]
    parts += [-1 if charge.cap is None else charge.cap for charge in charges]
    parts += [-1 if charge.window_ms is None else charge.window_ms for charge in charges]
    return orjson.dumps(parts).decode()


def read_charges(parts: Sequence[Any]) -> Iterator[Charge]:
    """What `pack_charges` wrote, after its JSON is read. Raises TypeError for anything else."""
    count, rest = divmod(len(parts), 4)
    if rest or not all(isinstance(part, str) for part in parts[:count]) or not all(type(part) is int for part in parts[count:]):
        raise TypeError("these are no charges")
    for account, amount, cap, window_ms in zip(*(parts[at * count : (at + 1) * count] for at in range(4)), strict=True):
        yield Charge(account, amount, None if cap < 0 else cap, None if window_ms < 0 else window_ms)


def split_reply(reply: Reply) -> tuple[str, bytes, tuple[Lost, ...]]:
    """The word that an answer begins with, what follows it (`figures` reads it), and the lost holds."""
    head, lost = (reply[0], reply[1:]) if isinstance(reply, list) else (reply, ())
    word, _, detail = bytes_of(head).partition(b" ")
    return word.decode(), detail, tuple(_read_lost(list_of(item)) for item in lost)


def figures(packed: bytes) -> list[int]:
    """The whole numbers of an answer."""
    return list(map(int, unpack(f"<{len(packed) // 8}d", packed)))


def read_held(hold: Hold, detail: bytes, lost: tuple[Lost, ...]) -> Held:
    """An admission."""
    at_ms, lease_until_ms, *sums = figures(detail)
    rows = zip(sums[::4], sums[1::4], sums[2::4], sums[3::4], strict=True)
    return Held(hold.id, at_ms, lease_until_ms, tuple(Balance(*row) for row in rows), lost)


def read_refused(hold: Hold, detail: bytes, lost: tuple[Lost, ...]) -> Refused:
    """A refusal: for each charge that did not fit its balance, and what must leave its window."""
    numbers = iter(figures(detail))
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


def read_time(reply: Reply) -> int:
    """The ledger's time, which the first word of a list is followed by."""
    return int(bytes_of(list_of(reply)[0]).partition(b" ")[2])


def read_tickets(reply: Reply) -> tuple[str, list[Ticket]]:
    """A part of the queue, and the cursor of the next one."""
    _, cursor, *items = list_of(reply)
    parts = [bytes_of(item) for item in items]
    tickets = zip(parts[::5], parts[1::5], parts[2::5], parts[3::5], parts[4::5], strict=True)
    return bytes_of(cursor).decode(), [_read_ticket(*ticket) for ticket in tickets]


def _read_ticket(hold_id: bytes, times: bytes, names: bytes, accounts: bytes, amounts: bytes) -> Ticket:
    with reading("ticket", hold_id.decode(errors="replace")):
        turn, until_ms, since_ms = figures(times)
        # An empty table of the scripts may be a list or an object.
        asks = dict(zip(orjson.loads(accounts), figures(amounts), strict=True))
        return Ticket(hold_id.decode(), turn, until_ms, asks, dict(orjson.loads(names)), since_ms)


def read_journal(reply: Reply) -> tuple[list[tuple[str, Record]], str]:
    """A part of the journal, each record with its position; and the position that the reading ends at."""
    _, last, entries = list_of(reply)
    return [read_entry(list_of(entry)) for entry in list_of(entries)], bytes_of(last).decode()


def next_position(position: str) -> str:
    """The first position in the journal after this one."""
    at_ms, _, number = position.partition("-")
    return f"{at_ms}-{int(number) + 1}"


def read_entry(entry: "list[Reply]") -> tuple[str, Record]:
    """A record of the journal with its position."""
    position = bytes_of(entry[0]).decode()
    with reading("record", position):
        values = dict(pairs_of([bytes_of(part) for part in list_of(entry[1])]))
        lost = values[b"lost"] == b"1"
        amounts, body = orjson.loads(values[b"amounts"]), values[b"body"].decode()
        if lost:  # its amounts are the charges of the hold
            amounts = {charge.account: charge.amount for charge in read_charges(amounts) if charge.amount and charge.window_ms != 0}
        if not all(type(amount) is int for amount in amounts.values()):
            raise TypeError("an amount is no whole number")
        orjson.loads(body)
        return position, Record(values[b"hold"].decode(), int(position.partition("-")[0]), lost, amounts, body)


def _read_lost(parts: "list[Reply]") -> Lost:
    hold_id, packed, record, sums = map(bytes_of, parts)
    with reading("hold", hold_id.decode(errors="replace")):
        charges = tuple(read_charges(orjson.loads(packed)))
        at_ms, *changed = figures(sums)
        return Lost(hold_id.decode(), at_ms, charges, record.decode(), read_changes((charge.account for charge in charges), changed))


def read_row(name: bytes, packed: bytes) -> tuple[str, int, int, int]:
    """An account, with what it has settled, live and held."""
    account = text_of(name, "account")
    with reading("account", account):
        settled, live, held, _ = map(int, unpack("<dddd", packed))
        return account, settled, live, held


def read_hold(name: bytes, packed: bytes) -> OpenHold:
    """An open hold as the ledger keeps it."""
    hold_id = text_of(name, "hold")
    with reading("hold", hold_id):
        at_ms, lease_until_ms, *lengths = map(int, unpack("<dddd", packed[:32]))
        charges, process, lost_record = _split_text(packed[32:], *lengths)
        orjson.loads(lost_record)
        return OpenHold(hold_id, at_ms, lease_until_ms, tuple(read_charges(orjson.loads(charges))), lost_record, process)


def _split_text(text: bytes, first: int, second: int) -> tuple[str, str, str]:
    """Parts of so many bytes, and the rest."""
    if first < 0 or second < 0 or first + second > len(text):
        raise ValueError("it is cut off")
    return text[:first].decode(), text[first : first + second].decode(), text[first + second :].decode()


def pairs_of(flat: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The names and values of a hash or a record, as they are answered."""
    return zip(flat[::2], flat[1::2], strict=True)


def text_of(name: bytes, kind: str) -> str:
    """The name of an account, a hold, or another `kind` of value."""
    with reading(kind, name.decode(errors="replace")):
        return name.decode()


def bytes_of(reply: Reply) -> bytes:
    """A text of an answer. Raises TypeError."""
    if not isinstance(reply, bytes):
        raise TypeError(f"a script answered {reply!r} where text was expected")
    return reply


def int_of(reply: Reply) -> int:
    """A number of an answer. Raises TypeError."""
    if not isinstance(reply, int):
        raise TypeError(f"a script answered {reply!r} where a number was expected")
    return reply


def list_of(reply: Reply) -> "list[Reply]":
    """A list of an answer. Raises TypeError."""
    if not isinstance(reply, list):
        raise TypeError(f"a script answered {reply!r} where a list was expected")
    return reply
