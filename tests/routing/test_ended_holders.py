"""What processes that ended hold, in words, and in the errors of calls that it refused."""

from __future__ import annotations

import pytest

from call_box import HELLO
from paymaster.accounting.accounts import EndedHolder
from paymaster.errors import LimitReached
from paymaster.routing.call_errors import no_model_error
from paymaster.routing.ended_holders import blocking, describe_ended
from paymaster.routing.requests import Request
from paymaster.routing.skipped import SkipCause, Skipped

AT_MS = 1_790_000_000_000
LATER_MS = 1_790_000_025_000  # 2026-09-21 14:13:45 UTC


def holder(process: str = "4711-1f2e3d4c", holds: int = 1, charged_at_ms: int = LATER_MS, **held: int) -> EndedHolder:
    return EndedHolder(process, holds, {name.replace("__", "/"): amount for name, amount in held.items()}, charged_at_ms)


@pytest.mark.parametrize(
    ("holders", "sentences"),
    [
        ([], ()),
        (
            [holder(usd=180_000_000)],
            ("$0.18 is held by a process that ended (pid 4711); charged at 14:13:45 UTC",),
        ),
        (
            [holder(usd=180_000_000, usd__run__a=60_000_000, slots__m=15, holds=15, charged_at_ms=AT_MS)],
            ("$0.18 is held by a process that ended (pid 4711); charged by the next call",),
        ),
        ([holder("x", slots__m=1)], ("1 call is held by a process that ended; charged at 14:13:45 UTC",)),
        (
            [holder(slots__m=1_500, slots__key__k1=1_500)],
            ("1,500 calls are held by a process that ended (pid 4711); charged at 14:13:45 UTC",),
        ),
        ([holder(holds=2, probe__m=1)], ("2 calls are held by a process that ended (pid 4711); charged at 14:13:45 UTC",)),
        (
            [holder(f"{number}-00000000", usd=number * 10**7, charged_at_ms=AT_MS + number) for number in range(1, 6)],
            (
                "$0.05 is held by a process that ended (pid 5); charged at 14:13:20 UTC",
                "$0.04 is held by a process that ended (pid 4); charged at 14:13:20 UTC",
                "$0.06 is held by 3 other processes that ended; charged at 14:13:20 UTC",
            ),
        ),
    ],
)
def test_it_is_said_who_holds_how_much_and_until_when(holders: list[EndedHolder], sentences: tuple[str, ...]) -> None:
    assert describe_ended(holders, AT_MS) == sentences


def test_only_what_others_wait_for_is_left() -> None:
    held = {"usd": 5, "usd/run/a": 0, "usd/run/b": 5, "slots/m": 1, "probe/m": 1, "parallel/m": 1, "requests/m": 1, "pause/m": 1}
    found = blocking([holder()._replace(held=held), holder(requests__m=1), holder(usd=1)], lambda account: account != "usd")
    assert [each.held for each in found] == [{"usd/run/b": 5, "slots/m": 1, "probe/m": 1, "parallel/m": 1}]


def test_a_call_that_is_refused_by_a_limit_says_it() -> None:
    sentence = describe_ended([holder(slots__m=1)], AT_MS)
    error = no_model_error(Request(messages=HELLO), [Skipped("m", SkipCause.WAIT, "slots/m: 1 of 1 used")], [], [], sentence)
    assert isinstance(error, LimitReached)
    assert error.message.endswith("\n  1 call is held by a process that ended (pid 4711); charged at 14:13:45 UTC")
