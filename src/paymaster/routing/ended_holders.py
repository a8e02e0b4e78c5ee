"""What processes that ended still hold, in words a person can act on. Pure; knows no ledger and no process."""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from paymaster.accounting.account_names import PARALLEL, PROBE, SLOTS, is_budget, is_money, key_of, parse
from paymaster.accounting.accounts import EndedHolder
from paymaster.accounting.money import format_usd
from paymaster.accounting.process_names import process_number

_MOST_SENTENCES = 3
_BLOCKING = frozenset({SLOTS, PARALLEL, PROBE})


def blocking(holders: Iterable[EndedHolder], is_wanted: Callable[[str], bool]) -> tuple[EndedHolder, ...]:
    """The holders with what they hold on wanted accounts that others wait for: budgets and slots. What counts in a window stays in it."""
    return tuple(holder._replace(held=held) for holder in holders if (held := _blocking(holder, is_wanted)))


def _blocking(holder: EndedHolder, is_wanted: Callable[[str], bool]) -> dict[str, int]:
    return {
        account: amount
        for account, amount in holder.held.items()
        if amount and (is_budget(account) or parse(account).kind in _BLOCKING) and is_wanted(account)
    }


class EndedSum(NamedTuple):
    """How many processes ended and still hold something, so many calls and so much money."""

    processes: int
    calls: int
    money_nanousd: int


def sum_held(holders: Collection[EndedHolder]) -> EndedSum:
    """The holders added up."""
    return EndedSum(len(holders), sum(map(_calls, holders)), sum(map(_money_nanousd, holders)))


def describe_ended(holders: Sequence[EndedHolder], now_ms: int) -> tuple[str, ...]:
    """A sentence about each holder, those that hold most first; the last is about the others, if there are many."""
    ordered = sorted(holders, key=lambda holder: (-_money_nanousd(holder), -_calls(holder), holder.process))
    if len(ordered) <= _MOST_SENTENCES:
        return tuple(_describe(holder, now_ms) for holder in ordered)
    others = ordered[_MOST_SENTENCES - 1 :]
    rest = (
        f"{_amount(others)} held by {len(others)} other processes that ended; {_when(max(each.charged_at_ms for each in others), now_ms)}"
    )
    return (*(_describe(holder, now_ms) for holder in ordered[: _MOST_SENTENCES - 1]), rest)


def _describe(holder: EndedHolder, now_ms: int) -> str:
    number = process_number(holder.process)
    which = "" if number is None else f" (pid {number})"
    return f"{_amount([holder])} held by a process that ended{which}; {_when(holder.charged_at_ms, now_ms)}"


def _amount(holders: Sequence[EndedHolder]) -> str:
    money_nanousd, calls = sum(map(_money_nanousd, holders)), sum(map(_calls, holders))
    if money_nanousd:
        return f"{format_usd(money_nanousd)} is"
    return "1 call is" if calls == 1 else f"{calls:,} calls are"


def _when(charged_at_ms: int, now_ms: int) -> str:
    if charged_at_ms <= now_ms:
        return "charged by the next call"
    return f"charged at {datetime.fromtimestamp(charged_at_ms / 1000, UTC):%H:%M:%S} UTC"


def _money_nanousd(holder: EndedHolder) -> int:
    """What is held of the budget that most is held of: a hold charges all its budgets with the same money."""
    return max((amount for account, amount in holder.held.items() if is_money(account)), default=0)


def _calls(holder: EndedHolder) -> int:
    """Each call has one slot of its model, beside any of its caller."""
    slots = (amount for account, amount in holder.held.items() if _is_slot(account))
    return sum(slots) or holder.holds


def _is_slot(account: str) -> bool:
    name = parse(account)
    return name.kind == SLOTS and key_of(name.subject) is None
