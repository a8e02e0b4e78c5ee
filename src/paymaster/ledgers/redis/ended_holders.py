"""What processes that are no longer heard of still hold, put together from pages of the open holds; knows the script that reads them.

A lease with less than `LeaseTimes.missed_ms` left was not renewed for two renewals. That proves the silence of its process, unless the
hold has come to its own end, up to which alone it is renewed: but a call ends long before that (`LEASE_MARGIN_MS` is twice as much), so a
process that still has such a hold has left it behind. A process counts as heard of if any of its leases has more left. So has every hold
of an earlier version of Paymaster, which takes long leases and renews none, until shortly before its end.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import NamedTuple

import orjson

from paymaster.accounting.accounts import Charge, EndedHolder
from paymaster.ledgers.callers_time import TOLERANCE_MS
from paymaster.ledgers.redis.connections import Reply
from paymaster.ledgers.redis.damage import reading
from paymaster.ledgers.redis.messages import ScriptRequest, bytes_of, list_of, read_charges, read_time, text_of

# About so many holds are read by one script, in a millisecond of the server's time.
PAGE = 250


class _SilentHold(NamedTuple):
    """An open hold that was not renewed."""

    process: str
    lease_until_ms: int
    held: tuple[Charge, ...]


async def read_pages(ask: Callable[[ScriptRequest], Awaitable[Reply]], missed_ms: int) -> list[Reply]:
    """The open holds in pages; `ask` runs the script `holders`.

    They are not one instant: a hold that is settled or renewed meanwhile may still be seen as it was. No call is decided on this.
    """
    cursor, pages = "0", list[Reply]()
    while cursor != "0" or not pages:
        page = list_of(await ask({"cursor": cursor, "count": PAGE, "within_ms": missed_ms}))
        cursor = bytes_of(page[1]).decode()
        pages.append(page)
    return pages


def find_ended_holders(pages: Reply, now_ms: int) -> tuple[EndedHolder, ...]:
    """By process, times as the caller's clock shows them. Raises DamagedValue."""
    ledger_ms, heard, silent = now_ms, set[str](), dict[str, _SilentHold]()
    for page in list_of(pages):
        ledger_ms = read_time(page)
        _, _, renewed, others = list_of(page)
        heard.update(text_of(bytes_of(process), "process") for process in list_of(renewed))
        silent.update(_read([bytes_of(part) for part in list_of(others)], ledger_ms))
    ahead_ms = ledger_ms - now_ms if abs(ledger_ms - now_ms) > TOLERANCE_MS else 0
    return tuple(_by_process((hold for hold in silent.values() if hold.process not in heard), ahead_ms))


def _read(parts: list[bytes], now_ms: int) -> Iterator[tuple[str, _SilentHold]]:
    """Holds by id, each with what it holds at this time: entries that have left their window no longer count."""
    for name, process, at_ms, lease_until_ms, packed in zip(*(parts[at::5] for at in range(5)), strict=True):
        hold_id = text_of(name, "hold")
        with reading("hold", hold_id):
            charges = read_charges(orjson.loads(packed))
            held = tuple(charge for charge in charges if charge.amount and (not charge.window_ms or int(at_ms) + charge.window_ms > now_ms))
            yield hold_id, _SilentHold(process.decode(), int(lease_until_ms), held)


def _by_process(holds: Iterable[_SilentHold], ahead_ms: int) -> Iterator[EndedHolder]:
    by_process: dict[str, list[_SilentHold]] = defaultdict(list)
    for hold in holds:
        by_process[hold.process].append(hold)
    for process, left in sorted(by_process.items()):
        held: dict[str, int] = defaultdict(int)
        for hold in left:
            for charge in hold.held:
                held[charge.account] += charge.amount
        yield EndedHolder(process, len(left), dict(held), max(hold.lease_until_ms for hold in left) - ahead_ms)
