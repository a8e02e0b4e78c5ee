"""What is remembered of waits for a model: which 429s, who asks, and what an answer forgets."""

import pytest

from paymaster.accounting.accounts import Balance, Refused, Shortfall
from paymaster.routing.exhaustion import (
    REMEMBERED_MS,
    exhaustion_charge,
    exhaustion_clears,
    exhaustion_posts,
    is_exhausted,
    is_paused,
    without_memory,
)
from paymaster.routing.failures import Billed, Failure, FailureKind

NOTHING, REMEMBERED = Balance(), Balance(live=2)


@pytest.mark.parametrize(
    ("kind", "asks_ms", "remembered", "after_pause", "posted"),
    [
        (FailureKind.THROTTLED, 2_000, NOTHING, True, True),
        (FailureKind.THROTTLED, 2_000, REMEMBERED, False, True),
        (FailureKind.THROTTLED, 2_000, NOTHING, False, False),  # nobody waited yet
        (FailureKind.THROTTLED, None, NOTHING, True, False),  # counts towards the breaker
        (FailureKind.THROTTLED, 0, REMEMBERED, True, False),
        (FailureKind.OVERLOADED, 2_000, REMEMBERED, True, False),
    ],
)
def test_which_429s_are_remembered(kind: FailureKind, asks_ms: int | None, remembered: Balance, after_pause: bool, posted: bool) -> None:
    found = exhaustion_posts("m", Failure(kind, Billed.NO, "", retry_after_ms=asks_ms), remembered, after_pause=after_pause)
    assert [(post.account, post.amount, post.for_ms) for post in found] == [("exhausted/m", 1, REMEMBERED_MS)] * posted


def test_an_answer_forgets_them() -> None:
    assert exhaustion_clears("m", None, REMEMBERED) == ("exhausted/m",)
    assert exhaustion_clears("m", None, NOTHING) == ()
    assert exhaustion_clears("m", Failure(FailureKind.OVERLOADED, Billed.NO, ""), REMEMBERED) == ()


def test_only_a_call_that_asks_is_refused_for_them() -> None:
    assert (exhaustion_charge("m", asks=False).cap, exhaustion_charge("m", asks=True).cap) == (None, 0)
    pause = Shortfall(exhaustion_charge("m", asks=True)._replace(account="pause/m"), REMEMBERED, 2_000)
    memory = Shortfall(exhaustion_charge("m", asks=True), REMEMBERED, REMEMBERED_MS)
    asked, ordinary = Refused("h", 0, (pause, memory)), Refused("h", 0, (pause,))
    assert (is_paused("m", asked), is_exhausted("m", asked), is_exhausted("m", ordinary)) == (True, True, False)
    assert without_memory("m", asked) == ordinary
