"""How accounts leave a ledger on a server, page by page: scripts find those that hold nothing and take them out; knows no connection.

The caller decides which leave (`ledgers/retirement.py`), because only it can read names. Between the two steps an account may change, so
the script looks again.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import NamedTuple, TypeAlias

from paymaster.ledgers.redis.connections import Reply
from paymaster.ledgers.redis.damage import DamagedValue
from paymaster.ledgers.redis.faults import FAULTS
from paymaster.ledgers.redis.messages import ScriptRequest, bytes_of, figures, list_of, pairs_of, text_of
from paymaster.ledgers.retirement import Leaving, leaving

Ask: TypeAlias = Callable[[ScriptRequest], Awaitable[Reply]]
"""Runs `lua/retire.lua`."""

PAGES_IN_PASSING = 4
"""A caller in passing looks at so many pages: a matter of a few milliseconds."""
NONE = Leaving([], [])
TAKEN_AT_ONCE = 500
END = "0"


class Page(NamedTuple):
    """What a step answers: how many accounts left, the ledger's time and setting, where to look on, and accounts with what they settled."""

    taken: int
    now_ms: int
    retire_days: int
    cursor: str
    idle: "list[tuple[str, int]]"


async def retire(ask: Ask, days: int | None) -> int:
    """Look at all accounts; how many left. `days` counts instead of the ledger's own setting."""
    page, total = await _step(ask, NONE, END), 0
    while True:
        found = leaving(page.idle, page.now_ms, page.retire_days if days is None else days)
        is_last = page.cursor == END
        page, count = await _take(ask, found, page.cursor, is_last=is_last)
        total += count
        if is_last:
            return total


async def retire_some(run: Callable[[str, ScriptRequest], Awaitable[Reply]], known: ScriptRequest) -> None:
    """Look at the next accounts, for a caller whose own work is done: where this one stops or fails, the next one goes on.

    `run` runs a script, `known` are the clock and the ledger of its request.
    """
    with suppress(*FAULTS, DamagedValue, TypeError):  # a script that refuses answers no list
        await _retire_some(lambda request: run("retire", {**known, **request}))


async def _retire_some(ask: Ask) -> None:
    page = await _step(ask, NONE, None)
    for number in range(1, PAGES_IN_PASSING + 1):
        found = leaving(page.idle, page.now_ms, page.retire_days)
        is_last = page.cursor == END or number == PAGES_IN_PASSING
        page, _ = await _take(ask, found, page.cursor, is_last=is_last, in_passing=is_last)
        if is_last:
            return


async def _take(ask: Ask, found: Leaving, cursor: str, *, is_last: bool, in_passing: bool = False) -> tuple[Page, int]:
    """Take these accounts out, and look at the next ones unless these were the last: the page, and how many left."""
    parts, total = list(_parts(found)), 0
    for part in parts[:-1]:
        total += (await _step(ask, part, cursor, is_last=True)).taken
    page = await _step(ask, parts[-1], cursor, is_last=is_last, in_passing=in_passing)
    return page, total + page.taken


def _parts(found: Leaving) -> Iterator[Leaving]:
    """The accounts, some at a time; once none if there is none."""
    for first in range(0, max(1, len(found.ended), len(found.empty)), TAKEN_AT_ONCE):
        yield Leaving(found.ended[first : first + TAKEN_AT_ONCE], found.empty[first : first + TAKEN_AT_ONCE])


async def _step(ask: Ask, found: Leaving, cursor: str | None, *, is_last: bool = False, in_passing: bool = False) -> Page:
    request: dict[str, object] = {"ended": found.ended, "empty": found.empty, "is_last": is_last, "in_passing": in_passing}
    reply = await ask(request if cursor is None else {**request, "cursor": cursor})
    if reply == b"NONE":  # there is no ledger, and so there are no accounts
        return Page(0, 0, 0, END, [])
    head, after, *pairs = map(bytes_of, list_of(reply))
    taken, now_ms, retire_days = figures(head.partition(b" ")[2])
    idle = [(text_of(name, "account"), int(settled)) for name, settled in pairs_of(pairs)]
    return Page(taken, now_ms, retire_days, after.decode(), idle)
